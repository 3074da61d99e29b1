package checks

import (
	"strings"
	"testing"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/hosttest"
)

// centos is a storage node as people had them: CentOS 7.4, Docker 17.12, Gluster in a pod.
func centos(t *testing.T) *hosttest.Machine {
	m := hosttest.New(t)
	m.Write("/proc/sys/kernel/osrelease", "3.10.0-693.el7.x86_64\n")
	m.Write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz-3.10.0-693.el7.x86_64 ro crashkernel=auto\n")
	m.Write("/var/log/messages", "Jan 1 00:00:00 s1 kernel: nothing of note\n")
	m.Answers["dmesg"] = ""
	return m
}

func TestKernelMemory(t *testing.T) {
	m := centos(t)
	quiet(t, look(t, kernelMemory, m.Host), doctor.StatusFine)
	m.Write("/sys/fs/cgroup/memory/kubepods/burstable/pod1/memory.kmem.slabinfo", "slabinfo - version: 2.1\n")
	if f := only(t, look(t, kernelMemory, m.Host)); f.Severity != doctor.Error || !strings.Contains(f.Evidence[0], "/burstable/pod1/memory.kmem.slabinfo") {
		t.Errorf("found %+v", f)
	}
	m.Write("/proc/cmdline", "ro cgroup.memory=nokmem\n")
	quiet(t, look(t, kernelMemory, m.Host), doctor.StatusFine)
	m.Write("/var/log/messages", "Jan 1 00:00:00 s1 kernel: SLUB: Unable to allocate memory on node -1 (gfp=0x8020)\n")
	if f := only(t, look(t, kernelMemory, m.Host)); !strings.Contains(f.Evidence[0], "SLUB: Unable to allocate") {
		t.Errorf("found %+v", f)
	}
}

func TestBrickMemory(t *testing.T) {
	m := hosttest.New(t)
	quiet(t, look(t, brickMemory, m.Host), doctor.StatusSkipped)
	m.Process(40, "/usr/sbin/glusterd")
	m.Write("/proc/40/cgroup", "11:memory:/kubepods/pod1/c1\n")
	m.Write("/proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable:    4000000 kB\n")
	quiet(t, look(t, brickMemory, m.Host), doctor.StatusFine)
	m.Write("/proc/meminfo", "MemAvailable:    100000 kB\n")
	if f := only(t, look(t, brickMemory, m.Host)); f.Severity != doctor.Warning || !strings.Contains(f.Problem, "4 more bricks") {
		t.Errorf("found %+v", f)
	}
	m.Write("/proc/meminfo", "MemAvailable:    4000000 kB\n")
	m.Write("/sys/fs/cgroup/memory/kubepods/pod1/c1/memory.limit_in_bytes", "536870912\n")
	m.Write("/sys/fs/cgroup/memory/kubepods/pod1/c1/memory.usage_in_bytes", "500000000\n")
	if f := only(t, look(t, brickMemory, m.Host)); f.Object != "glusterd" || !strings.Contains(f.Evidence[0], "512 MiB, 476 of them in use") {
		t.Errorf("found %+v", f)
	}
	m.Write("/proc/40/cgroup", "0::/system.slice/glusterd.service\n")
	m.Write("/sys/fs/cgroup/system.slice/glusterd.service/memory.max", "max\n")
	quiet(t, look(t, brickMemory, m.Host), doctor.StatusFine)
	for pid := range manyBricks + 1 {
		m.Process(1000+pid, "/usr/sbin/glusterfsd", "-s", "n1")
	}
	if f := only(t, look(t, brickMemory, m.Host)); f.Object != "bricks" {
		t.Errorf("found %+v", f)
	}
	m.Write("/proc/meminfo", "\n")
	quiet(t, look(t, brickMemory, m.Host), doctor.StatusUnknown)
}

func TestBrickLimits(t *testing.T) {
	m := hosttest.New(t)
	m.Process(41, "/usr/sbin/glusterfsd", "-s", "n1")
	m.Write("/proc/41/limits", "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            4                    4096                 files     \n")
	m.Write("/proc/net/tcp", "  sl  local_address rem_address   st\n   0: 00000000:C000 00000000:0000 0A 0\n   1: 00000000:C001 00000000:0000 01 0\n")
	for _, fd := range []string{"0", "1", "2"} {
		m.Write("/proc/41/fd/"+fd, "")
	}
	quiet(t, look(t, brickLimits, m.Host), doctor.StatusFine)
	m.Write("/proc/41/fd/3", "")
	if f := only(t, look(t, brickLimits, m.Host)); f.Object != "glusterfsd (process 41)" || f.Evidence[0] != "4 files open of 4" {
		t.Errorf("found %+v", f)
	}
	m.Write("/proc/41/limits", "Max open files            1000000              4096                 files     \n")
	m.Write("/etc/glusterfs/glusterd.vol", "volume management\n    option base-port 49152\n    option max-port  49152\n#   option max-port  60999\nend-volume\n")
	if f := only(t, look(t, brickLimits, m.Host)); f.Object != "ports of bricks" || !strings.Contains(f.Evidence[0], "1 of 1 ports") {
		t.Errorf("found %+v", f)
	}
}
