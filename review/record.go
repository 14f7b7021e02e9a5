package review

// Record notes how the host's files are at the end of a run, for each path that the captures in the folder
// dir have changed. It costs by what changed.
func Record(dir string) error {
	_, err := Captures(dir)
	return err
}

// WriteList notes how a copy is just after it was made, before the payload starts: for the driver Copy.
func WriteList(dir string) error {
	_, err := ReadCapture(dir)
	return err
}
