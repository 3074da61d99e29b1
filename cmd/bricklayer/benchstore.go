package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// What a run writes into a ConfigMap. The page of HTML is not among it: it is made
// of the result by bench report, and the two together may not fit.
const (
	stateKey  = "state"
	resultKey = resultFile + ".gz"
	reportKey = markdownFile
	// mostStored is what fits into a ConfigMap (1 MiB), with room for its own fields.
	mostStored = 1<<20 - 16<<10
	// storeWithin bounds a call, also of a run that was told to end.
	storeWithin = 30 * time.Second
)

// benchStore is a ConfigMap that gets a run's result. It must be there, so that a
// pod needs no right but to change this one.
type benchStore struct {
	client          kubernetes.Interface
	namespace, name string
}

// stored is the part of a ConfigMap that a run changes.
type stored struct {
	Data       map[string]string  `json:"data,omitempty"`
	BinaryData map[string]*[]byte `json:"binaryData,omitempty"`
}

// begin says that a run has begun, and finds out before it whether the end can be told.
func (s *benchStore) begin(ctx context.Context, now time.Time) error {
	return s.patch(ctx, stored{
		Data:       map[string]string{stateKey: "running since " + now.Format(time.RFC3339), reportKey: ""},
		BinaryData: map[string]*[]byte{resultKey: nil}, // that of an earlier run
	})
}

// end stores what is in the run's directory, however far it came, and what became of it.
func (s *benchStore) end(ctx context.Context, dir string, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWithin)
	defer cancel()
	content := stored{Data: map[string]string{}}
	err := s.collect(&content, dir)
	content.Data[stateKey] = "done"
	if failed = errors.Join(failed, err); failed != nil {
		content.Data[stateKey] = "failed: " + failed.Error()
	}
	return errors.Join(err, s.patch(ctx, content))
}

// collect reads the files of a run. One that is missing, as of a run that never
// began to measure, is left out.
func (s *benchStore) collect(content *stored, dir string) error {
	result, err := os.ReadFile(filepath.Join(dir, resultFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var packed bytes.Buffer
	if err == nil {
		w := gzip.NewWriter(&packed)
		_, err = w.Write(result)
		err = errors.Join(err, w.Close())
	}
	report, readErr := os.ReadFile(filepath.Join(dir, markdownFile))
	if errors.Is(readErr, fs.ErrNotExist) {
		readErr = nil
	}
	if err = errors.Join(err, readErr); err != nil {
		return fmt.Errorf("read the result to store it: %w", err)
	}
	if size := packed.Len() + len(report); size > mostStored {
		return fmt.Errorf("store the result in ConfigMap %s/%s: it has %d bytes and %d fit: it stays in %s; run fewer jobs or rounds, or give --out a directory on a volume",
			s.namespace, s.name, size, mostStored, dir)
	}
	data := packed.Bytes()
	content.BinaryData = map[string]*[]byte{resultKey: &data}
	content.Data[reportKey] = string(report)
	return nil
}

func (s *benchStore) patch(ctx context.Context, content stored) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	data, err := json.Marshal(content)
	if err == nil {
		_, err = s.client.CoreV1().ConfigMaps(s.namespace).Patch(ctx, s.name, types.MergePatchType, data, metav1.PatchOptions{})
	}
	if err != nil {
		return fmt.Errorf("write ConfigMap %s/%s: %w: it must be there, and may have to be granted (verb patch); deploy/bench/job.yaml does both", s.namespace, s.name, err)
	}
	return nil
}
