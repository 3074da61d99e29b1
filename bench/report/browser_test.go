//go:build browser

package report

import (
	"context"
	"image"
	"image/color"
	_ "image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// chromium shows a page from disk, with no network, and runs one of its commands on it.
func chromium(t *testing.T, page string, args ...string) {
	t.Helper()
	program := "chromium"
	if _, err := exec.LookPath(program); err != nil {
		t.Fatal("chromium is missing: run apt-get install chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	argv := append([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
		"--user-data-dir=" + t.TempDir(), "--window-size=1000,3600",
	}, args...)
	if out, err := exec.CommandContext(ctx, program, append(argv, "file://"+page)...).CombinedOutput(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, out)
	}
}

// colours counts the pixels of a picture by colour.
func colours(t *testing.T, file string) map[color.RGBA]int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[color.RGBA]int{}
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
			r, g, b, _ := picture.At(x, y).RGBA()
			seen[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}]++
		}
	}
	return seen
}

// TestInBrowser opens the page in a real browser, in light and dark, and looks
// whether the charts are there in their colours.
func TestInBrowser(t *testing.T) {
	page := filepath.Join(t.TempDir(), "report.html")
	html, err := HTML(sample())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, html, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		scheme string
		paper  color.RGBA
		bars   []color.RGBA
	}{
		"light": {"1", color.RGBA{255, 255, 255, 255}, []color.RGBA{{0, 0x72, 0xb2, 255}, {0xe6, 0x9f, 0, 255}, {0, 0x9e, 0x73, 255}}},
		"dark":  {"0", color.RGBA{0x14, 0x17, 0x1b, 255}, []color.RGBA{{0x4a, 0xa3, 0xd8, 255}, {0xe6, 0x9f, 0, 255}, {0, 0x9e, 0x73, 255}}},
	} {
		t.Run(name, func(t *testing.T) {
			shot := filepath.Join(t.TempDir(), "shot.png")
			chromium(t, page, "--blink-settings=preferredColorScheme="+tc.scheme, "--screenshot="+shot)
			seen := colours(t, shot)
			if seen[tc.paper] < 1_000_000 {
				t.Errorf("the paper's colour covers %d pixels, want most of them", seen[tc.paper])
			}
			for i, bar := range tc.bars {
				if seen[bar] < 2000 {
					t.Errorf("target %d has %d pixels of its colour, want a bar of them", i, seen[bar])
				}
			}
		})
	}
	t.Run("paper", func(t *testing.T) {
		pdf := filepath.Join(t.TempDir(), "report.pdf")
		chromium(t, page, "--print-to-pdf="+pdf)
		if st, err := os.Stat(pdf); err != nil || st.Size() < 10_000 {
			t.Errorf("the printed report: %v, %v", st, err)
		}
	})
}
