package review

import "path/filepath"

// Relist fits the list of a copied capture, in the folder from, to a copy of all that, in the folder to: a file
// that is as it was made there counts as made here. Captures by overlay have no list.
func Relist(from, to string) error {
	c, err := ReadCapture(from)
	if err != nil || c.Driver != Copy {
		return err
	}
	l, err := readList(from)
	if err != nil {
		return err
	}
	old, err := openTree(filepath.Join(from, UpperName))
	if err != nil {
		return err
	}
	defer old.close()
	made, err := openTree(filepath.Join(to, UpperName))
	if err != nil {
		return err
	}
	defer made.close()
	for name, was := range l.Files {
		n, err1 := old.stat(string(name))
		m, err2 := made.stat(string(name))
		if err1 != nil || err2 != nil || was != (listed{n.Ino, n.Ctime, n.Mode}) {
			l.Files[name] = listed{} // it was touched, or cannot be told: its content decides
			continue
		}
		l.Files[name] = listed{m.Ino, m.Ctime, m.Mode}
	}
	return noteJSON(to, listFile, l)
}
