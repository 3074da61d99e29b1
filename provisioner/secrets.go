package provisioner

import (
	"bytes"
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bricklayer.csi/internal/volume"
)

// Secrets reads the Secrets that classes name, each time that one is needed:
// nothing is kept, so a new key is used from the next request on.
type Secrets struct{ Client kubernetes.Interface }

// Secret returns the values of a Secret by their keys; a line end after a value,
// which comes of making Secrets from files, is no part of it. NotFound where
// there is none.
func (s Secrets) Secret(ctx context.Context, namespace, name string) (map[string]volume.Secret, error) {
	found, err := s.Client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, secretError(namespace+"/"+name, err)
	}
	values := make(map[string]volume.Secret, len(found.Data))
	for key, value := range found.Data {
		values[key] = volume.Secret(bytes.TrimRight(value, "\r\n"))
	}
	return values, nil
}

func secretError(on string, err error) error {
	e := &volume.Error{Kind: volume.Unavailable, Op: "read a Secret", On: on, Err: err}
	switch {
	case apierrors.IsNotFound(err):
		e.Kind, e.Err = volume.NotFound, errors.New("there is no such Secret")
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		e.Kind, e.Next = volume.Denied, "let the controller's ServiceAccount get Secrets in that namespace"
	}
	return e
}
