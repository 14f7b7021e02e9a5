package sandbox

import (
	"strings"
	"testing"
)

// The files as the kernel writes them, shortened.
const (
	snmpNames = "Ip: Forwarding OutNoRoutes ReasmTimeout\nIp: 2 %IP 0\nTcp: ActiveOpens OutRsts\nTcp: 5 3\nUdp: InDatagrams NoPorts InErrors\nUdp: 4 %UDP 0\nUdpLite: InDatagrams NoPorts\nUdpLite: 0 7\n"
	snmp6     = "Ip6InReceives                   \t9\nIp6OutNoRoutes                  \t%IP\nUdp6NoPorts                     \t%UDP\nUdpLite6NoPorts                 \t7\n"
)

func TestCountsSought(t *testing.T) {
	for _, file := range []string{snmpNames, snmp6} {
		for counts, want := range map[[2]string]bool{{"0", "0"}: false, {"1", "0"}: true, {"0", "2"}: true} {
			text := strings.NewReplacer("%IP", counts[0], "%UDP", counts[1]).Replace(file)
			if got := countsSought(strings.NewReader(text)); got != want {
				t.Errorf("counts %v: %v, want %v in\n%s", counts, got, want, text)
			}
		}
	}
	for _, text := range []string{"", "Ip:\nIp:\n", "Ip: OutNoRoutes\n", "OutNoRoutes\n1\n"} {
		if countsSought(strings.NewReader(text)) {
			t.Errorf("%q counts", text)
		}
	}
}
