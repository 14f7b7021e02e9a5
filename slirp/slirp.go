// Package slirp holds a sandbox's network: its own loopback alone, the host's network, or one of its own
// that a program outside serves: slirp4netns, pasta or sbx-net.
//
// In scope: which namespace a mode needs, the steps of the plan that make it usable, and the program's
// life, from its start to its end. Not in scope: what a mode is called or allowed, which is the
// profile's.
package slirp

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// The modes that this package tells apart.
const (
	Host  = "host"    // shares the host's network
	None  = "none"    // a loopback alone
	Slirp = "slirp"   // slirp4netns(1)
	Pasta = "pasta"   // pasta(1)
	Own   = "builtin" // sbx-net
)

// MTU is that of networks of the sandbox's own, in bytes: the most that slirp4netns and pasta take.
const MTU = 65520

// tapName is what the sandbox sees of slirp4netns.
const tapName = "tap0"

// Resolver is the address of the name server inside, which leads to the host's own.
const Resolver = "10.0.2.3"

// joins tells whether a mode is another sandbox's network, which that one has made usable.
func joins[M ~string](mode M) bool { return strings.HasPrefix(string(mode), "join:") }

// Namespaces are the CLONE_NEW* flags of a mode.
func Namespaces[M ~string](mode M) uintptr {
	if mode == Host || joins(mode) {
		return 0
	}
	return unix.CLONE_NEWNET
}

// Steps make the network of a mode usable, inside it.
func Steps[M ~string](mode M) []userns.Step {
	if mode == Host || joins(mode) {
		return nil
	}
	return userns.LoopbackUp("bringing up the loopback interface")
}

// Device makes the network device, where the sandbox makes it, and hands out that of a built-in network, for sbx-net, or
// the network of slirp4netns, which can take its device then. The walk must still see the host's /dev and /proc.
func Device[M ~string](mode M) []userns.Step {
	switch mode {
	case Slirp:
		return append(userns.KeepTap(DeviceStep, tapName),
			userns.Open(DeviceStep, "/proc/self/ns/net", userns.How{}).To(DeviceSlot),
			userns.Send(DeviceStep, DeviceSlot),
			userns.Close(DeviceStep, DeviceSlot))
	case Own:
	default:
		return nil
	}
	tun := userns.Tun{Name: deviceName, MTU: MTU, IPv4: netip.MustParsePrefix(SandboxIPv4), IPv6: netip.MustParsePrefix(SandboxIPv6)}
	return append(userns.OpenTun(DeviceStep, tun, DeviceSlot),
		userns.Send("handing out the network device", DeviceSlot),
		userns.Close("handing out the network device", DeviceSlot))
}

// Barrier waits for the program outside, in modes that have one. It comes before PID 1 is made not dumpable, since such
// programs enter by its /proc/PID/ns.
func Barrier[M ~string](mode M) []userns.Step {
	if mode == Host || mode == None || joins(mode) {
		return nil
	}
	steps := []userns.Step{userns.Barrier("waiting for the network")}
	if mode == Slirp {
		steps = append(steps, userns.WakeTap(DeviceStep, tapName)...)
	}
	return steps
}
