package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// procTree makes a /proc of the given files.
func procTree(t *testing.T, files map[string]string) facts {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return facts{proc: dir}
}

func TestMemory(t *testing.T) {
	f := procTree(t, map[string]string{
		"meminfo":         "MemTotal:        1527948 kB\nMemFree:          918116 kB\nMemAvailable:    1204928 kB\nHugePages_Total:       0\n",
		"pressure/memory": "some avg10=2.53 avg60=0.10 avg300=0.00 total=123\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=1\n",
	})
	total, available, err := f.memory()
	if err != nil || total != 1527948<<10 || available != 1204928<<10 {
		t.Errorf("got %d, %d, %v", total, available, err)
	}
	if p := f.memoryPressure(); p != 2.53 {
		t.Errorf("pressure %v", p)
	}
	for _, bad := range []string{"", "MemTotal: 1 kB\n", "MemTotal: -1 kB\nMemAvailable: 1 kB\n", "MemTotal: 1 GB\nMemAvailable: 1 kB\n", "MemTotal: 9223372036854775807 kB\nMemAvailable: 1 kB\n"} {
		if total, available, err := procTree(t, map[string]string{"meminfo": bad}).memory(); err == nil {
			t.Errorf("%q gave %d, %d", bad, total, available)
		}
	}
	for _, bad := range []string{"", "some\n", "some avg10=x\n", "some avg10=101\n", "full avg10=1\n"} {
		if p := procTree(t, map[string]string{"pressure/memory": bad}).memoryPressure(); p >= 0 {
			t.Errorf("%q gave %v", bad, p)
		}
	}
	if p := procTree(t, nil).memoryPressure(); p >= 0 {
		t.Errorf("a kernel without pressure gave %v", p)
	}
}

func TestLoad(t *testing.T) {
	if l := procTree(t, map[string]string{"loadavg": "0.52 1.00 2.00 1/234 5678\n"}).load(); l == nil || *l != 0.52 {
		t.Errorf("got %v", l)
	}
	for _, bad := range []string{"", "x 1 1", "-1 1 1", "NaN 1 1", "1e9 1 1"} {
		if l := procTree(t, map[string]string{"loadavg": bad}).load(); l != nil {
			t.Errorf("%q gave %v", bad, *l)
		}
	}
	if l := procTree(t, nil).load(); l != nil {
		t.Errorf("a kernel that does not tell gave %v", *l)
	}
}

func TestBrickProcesses(t *testing.T) {
	f := procTree(t, map[string]string{
		"1/comm": "init\n", "1/statm": "100 50 1 1 1 1 1\n",
		"20/comm": "glusterfsd\n", "20/statm": "100000 5000 1 1 1 1 1\n",
		"21/comm": "glusterfsd\n", "21/statm": "100000 3000 1 1 1 1 1\n",
		"22/comm": "glusterfs\n", "22/statm": "100000 7000 1 1 1 1 1\n",
		"23/comm": "glusterfsdx\n", "23/statm": "100000 7000 1 1 1 1 1\n",
		"24/comm":   "glusterfsd\n", // it has just ended
		"self/comm": "glusterfsd\n", "self/statm": "1 1 1\n",
	})
	count, resident, err := f.brickProcesses()
	if want := 8000 * int64(os.Getpagesize()); err != nil || count != 3 || resident != want {
		t.Errorf("got %d processes with %d bytes, %v; want 3 with %d", count, resident, err, want)
	}
}

func TestRealFacts(t *testing.T) {
	f := facts{proc: "/proc"}
	if total, available, err := f.memory(); err != nil || available <= 0 || available > total {
		t.Errorf("got %d of %d, %v", available, total, err)
	}
	if _, _, err := f.brickProcesses(); err != nil {
		t.Error(err)
	}
	if _, err := clockSynchronised(); err != nil {
		t.Error(err)
	}
}
