package host

// KernelVersion is the first of the probes.
var KernelVersion = &Probe{Name: "kernel", What: "kernel version", Required: true, run: probeKernel}

// All lists the probes in the order in which doctor shows them.
func All() []*Probe { return []*Probe{KernelVersion} }

func probeKernel(e *Env) Finding {
	v, _ := e.text("/proc/sys/kernel/osrelease")
	return ok(v, "")
}
