package userns

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Tun is a network device whose packets a program reads and writes by a descriptor:
// Documentation/networking/tuntap.rst. It carries IP packets and no frames (IFF_TUN), so that there is
// neither ARP nor neighbour discovery, and no wait for duplicate addresses.
type Tun struct {
	Name string // at most 15 bytes
	MTU  uint32 // bytes
	IPv4 netip.Prefix
	IPv6 netip.Prefix // left out where the kernel has no IPv6
}

// tunIndex is the device's number in its network namespace. It is asked for (TUNSETIFINDEX), since IPv6
// addresses are set by number, and a plan cannot read one back. Numbers that the kernel gives are low.
const tunIndex = 1000

// ioctls that golang.org/x/sys does not name: include/uapi/linux/sockios.h.
const (
	siocAddRoute   = 0x890b // SIOCADDRT
	siocSetAddress = 0x8916
	siocSetMask    = 0x891c
	siocSetMTU     = 0x8922
)

// OpenTun makes the device, brings it up with its addresses and a default route for each, and leaves its
// descriptor in slot: netdevice(7), route(8), rtnetlink(7). The walk must still see the host's /dev.
func OpenTun(do string, t Tun, slot Slot) []Step {
	index := binary.NativeEndian.AppendUint32(nil, tunIndex)
	flags := binary.NativeEndian.AppendUint16(nil, unix.IFF_TUN|unix.IFF_NO_PI)
	steps := []Step{
		Open(do, "/dev/net/tun", How{Flags: unix.O_RDWR | unix.O_NONBLOCK}).To(slot),
		step(do, unix.SYS_IOCTL, FromSlot(slot), Num(unix.TUNSETIFINDEX, "TUNSETIFINDEX"), Bytes(index, fmt.Sprintf("[%d]", tunIndex))),
		step(do, unix.SYS_IOCTL, FromSlot(slot), Num(unix.TUNSETIFF, "TUNSETIFF"), t.request(flags, "IFF_TUN|IFF_NO_PI")),
	}
	steps = append(steps, t.configureIPv4(do)...)
	return append(steps, t.configureIPv6(do)...)
}

// request is struct ifreq with this after the name.
func (t Tun) request(value []byte, text string) Arg { return deviceRequest(t.Name, value, text) }

func deviceRequest(name string, value []byte, text string) Arg {
	b := make([]byte, 40)
	copy(b[:unix.IFNAMSIZ-1], name)
	copy(b[unix.IFNAMSIZ:], value)
	return Bytes(b, "{"+name+", "+text+"}")
}

// KeepTap makes a network device of frames (IFF_TAP), up, which stays when the program ends that reads and writes them,
// and goes with its network namespace: tuntap.rst, TUNSETPERSIST. The walk must still see the host's /dev. The device is
// up before the program takes it: else a second may go by until the kernel notices (net/core/link_watch.c). WakeTap is
// for when the program has it.
func KeepTap(do, name string) []Step { return append(attachTap(do, name, 1), interfaceUp(do, name)...) }

// RemoveTap removes such a device, which no program has any more.
func RemoveTap(do, name string) []Step { return attachTap(do, name, 0) }

// awakeQueue is how many packets wait in such a device: other than the kernel's 1000, so that it is a change.
const awakeQueue = 1024

// WakeTap lets packets into such a device that a program has taken. By itself the kernel does so a moment later, and drops
// the first ones. A new length of the queue makes it do so at once: rtnetlink(7), IFLA_TXQLEN.
func WakeTap(do, name string) []Step {
	const slot = "rtnetlink"
	order := binary.NativeEndian
	message := append(make([]byte, 32), attribute(unix.IFLA_IFNAME, append([]byte(name), 0))...) // struct nlmsghdr, struct ifinfomsg
	message = append(message, attribute(unix.IFLA_TXQLEN, order.AppendUint32(nil, awakeQueue))...)
	order.PutUint32(message, uint32(len(message)))
	order.PutUint16(message[4:], unix.RTM_SETLINK)
	order.PutUint16(message[6:], unix.NLM_F_REQUEST)
	return []Step{
		step(do, unix.SYS_SOCKET, Num(unix.AF_NETLINK, "AF_NETLINK"), Num(unix.SOCK_RAW|unix.SOCK_CLOEXEC, "SOCK_RAW|SOCK_CLOEXEC"), Num(unix.NETLINK_ROUTE, "NETLINK_ROUTE")).To(slot),
		step(do, unix.SYS_WRITE, FromSlot(slot), Bytes(message, fmt.Sprintf("{RTM_SETLINK, %s, IFLA_TXQLEN %d}", name, awakeQueue)), Num(uintptr(len(message)))),
		Close(do, slot),
	}
}

// attribute is a struct rtattr with this after it, padded: rtnetlink(7).
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// attachTap takes a device, or makes it, says whether it is to stay, and leaves it.
func attachTap(do, name string, stays uintptr) []Step {
	const slot = "tap"
	flags := binary.NativeEndian.AppendUint16(nil, unix.IFF_TAP|unix.IFF_NO_PI)
	return []Step{
		Open(do, "/dev/net/tun", How{Flags: unix.O_RDWR}).To(slot),
		step(do, unix.SYS_IOCTL, FromSlot(slot), Num(unix.TUNSETIFF, "TUNSETIFF"), deviceRequest(name, flags, "IFF_TAP|IFF_NO_PI")),
		step(do, unix.SYS_IOCTL, FromSlot(slot), Num(unix.TUNSETPERSIST, "TUNSETPERSIST"), Num(stays)),
		Close(do, slot),
	}
}

// socketAddress is struct sockaddr_in without a port.
func socketAddress(a [4]byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
	return append(append(b, 0, 0), a[:]...)
}

func (t Tun) configureIPv4(do string) []Step {
	const slot = "netdevice"
	call := func(number uintptr, name string, arg Arg) Step {
		return step(do, unix.SYS_IOCTL, FromSlot(slot), Num(number, name), arg)
	}
	mask := [4]byte{}
	binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-t.IPv4.Bits()))
	up := binary.NativeEndian.AppendUint16(nil, unix.IFF_UP|unix.IFF_RUNNING)
	// struct rtentry of include/uapi/linux/route.h, in words: the whole of IPv4 by this device.
	const routeUp, inet = 1, unix.AF_INET
	route := Words(Num(0), Num(inet), Num(0), Num(0), Num(0), Num(inet), Num(0), Num(routeUp, "RTF_UP"), Num(0), Num(0), Num(0),
		Str(t.Name), Num(0), Num(0), Num(0))
	return []Step{
		step(do, unix.SYS_SOCKET, Num(unix.AF_INET, "AF_INET"), Num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, "SOCK_DGRAM|SOCK_CLOEXEC"), Num(0)).To(slot),
		call(siocSetMTU, "SIOCSIFMTU", t.request(binary.NativeEndian.AppendUint32(nil, t.MTU), fmt.Sprint(t.MTU))),
		call(siocSetAddress, "SIOCSIFADDR", t.request(socketAddress(t.IPv4.Addr().As4()), t.IPv4.Addr().String())),
		call(siocSetMask, "SIOCSIFNETMASK", t.request(socketAddress(mask), fmt.Sprintf("/%d", t.IPv4.Bits()))),
		call(unix.SIOCSIFFLAGS, "SIOCSIFFLAGS", t.request(up, "IFF_UP|IFF_RUNNING")),
		call(siocAddRoute, "SIOCADDRT", route),
		Close(do, slot),
	}
}

// configureIPv6 is skipped where the kernel has no IPv6, and does nothing where it is switched off.
func (t Tun) configureIPv6(do string) []Step {
	const slot = "netdevice6"
	socket := step(do, unix.SYS_SOCKET, Num(unix.AF_INET6, "AF_INET6"), Num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, "SOCK_DGRAM|SOCK_CLOEXEC"), Num(0)).
		To(slot).Tolerate(unix.EAFNOSUPPORT)
	call := func(number uintptr, name string, arg Arg) Step {
		return step(do, unix.SYS_IOCTL, FromSlot(slot), Num(number, name), arg).
			Unless(slot, unix.EAFNOSUPPORT).Tolerate(unix.EACCES, unix.EPERM, unix.EOPNOTSUPP, unix.ENODEV)
	}
	address := t.IPv6.Addr().As16()
	request := append([]byte{}, address[:]...) // struct in6_ifreq
	request = binary.NativeEndian.AppendUint32(request, uint32(t.IPv6.Bits()))
	request = binary.NativeEndian.AppendUint32(request, tunIndex)
	route := make([]byte, 80) // struct in6_rtmsg of include/uapi/linux/ipv6_route.h: all of IPv6 by this device
	binary.NativeEndian.PutUint32(route[56:], 1024)
	binary.NativeEndian.PutUint32(route[72:], 1) // RTF_UP
	binary.NativeEndian.PutUint32(route[76:], tunIndex)
	return []Step{
		socket,
		call(siocSetAddress, "SIOCSIFADDR", Bytes(request, fmt.Sprintf("{%s, %d}", t.IPv6, tunIndex))),
		call(siocAddRoute, "SIOCADDRT", Bytes(route, fmt.Sprintf("{::/0, %d}", tunIndex))),
		Close(do, slot).Unless(slot, unix.EAFNOSUPPORT),
	}
}

// interfaceUp brings an interface up: netdevice(7), SIOCSIFFLAGS.
func interfaceUp(do, name string) []Step {
	up := binary.NativeEndian.AppendUint16(nil, unix.IFF_UP|unix.IFF_RUNNING)
	return []Step{
		step(do, unix.SYS_SOCKET, Num(unix.AF_INET, "AF_INET"), Num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, "SOCK_DGRAM|SOCK_CLOEXEC"), Num(0)).To("netdevice"),
		step(do, unix.SYS_IOCTL, FromSlot("netdevice"), Num(unix.SIOCSIFFLAGS, "SIOCSIFFLAGS"), deviceRequest(name, up, "IFF_UP|IFF_RUNNING")),
		Close(do, "netdevice"),
	}
}
