package heketi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"bricklayer.csi/internal/volume"
)

// KeySource gives a key each time that it is needed, so that a new key is used
// from the next request on.
type KeySource interface {
	Key(ctx context.Context) (volume.Secret, error)
}

// Secrets gives the values of a Secret by their keys. NotFound where there is none.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (map[string]volume.Secret, error)
}

// maxKey bounds what is read as a key, in bytes.
const maxKey = 4096

// FileKey is a file that holds a key; a line end after it is no part of it.
type FileKey string

// Key implements KeySource.
func (f FileKey) Key(context.Context) (volume.Secret, error) {
	file, err := os.OpenFile(string(f), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", keyError(string(f), err)
	}
	defer file.Close()
	return readKey(file, string(f))
}

// readKey reads a key from an open file.
func readKey(file fs.File, name string) (volume.Secret, error) {
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return "", keyError(name, err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKey+1))
	if err != nil {
		return "", keyError(name, err)
	}
	key := strings.TrimRight(string(text), "\r\n")
	if key == "" || len(text) > maxKey {
		return "", keyError(name, fmt.Errorf("it holds %d bytes; allowed: 1 to %d", len(text), maxKey))
	}
	return volume.Secret(key), nil
}

func keyError(name string, err error) error {
	return &volume.Error{
		Kind: volume.Precondition, Op: "read heketi's key", On: name, Err: err,
		Next: "put the key of heketi's user there",
	}
}

// DirSecrets is a directory that holds Secrets as DIR/NAMESPACE/NAME/KEY.
type DirSecrets string

// Secret implements Secrets. Hidden entries are left out: Kubernetes keeps the
// real files of a mounted Secret in one.
func (d DirSecrets) Secret(_ context.Context, namespace, name string) (map[string]volume.Secret, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, keyError(string(d), err)
	}
	defer root.Close()
	at := namespace + "/" + name
	entries, err := fs.ReadDir(root.FS(), at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &volume.Error{Kind: volume.NotFound, Op: "find a Secret", On: at, Err: errors.New("there is no such Secret")}
	}
	if err != nil {
		return nil, keyError(at, err)
	}
	values := map[string]volume.Secret{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		file, err := root.OpenFile(at+"/"+e.Name(), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, keyError(at+"/"+e.Name(), err)
		}
		values[e.Name()], err = readKey(file, at+"/"+e.Name())
		file.Close()
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

// login is who we are in one request.
type login struct {
	user string
	key  volume.Secret
}

// poolLogin returns the pool's own credentials.
func (b *Backend) poolLogin(ctx context.Context) (login, error) {
	if b.Key == nil {
		return login{user: b.User}, nil
	}
	key, err := b.Key.Key(ctx)
	return login{user: b.User, key: key}, err
}

// classLogin returns the credentials that a class's creates use, by the rules
// of the in-tree plug-in: a Secret before restuserkey, and neither where
// restauthenabled is "false". A class that names none uses the pool's.
func (b *Backend) classLogin(ctx context.Context, p volume.HeketiParameters) (login, error) {
	l := login{user: p.User, key: p.Key}
	if l.user == "" {
		l.user = b.User
	}
	switch {
	case !p.AuthEnabled:
		return login{}, nil
	case p.SecretName != "":
		key, err := b.secretKey(ctx, p.SecretNamespace, p.SecretName)
		l.key = key
		return l, err
	case p.Key != "":
		return l, nil
	}
	return b.poolLogin(ctx)
}

// secretKey returns the value "key" of a Secret, else that of its last key in
// the order of the alphabet: the in-tree plug-in took any.
func (b *Backend) secretKey(ctx context.Context, namespace, name string) (volume.Secret, error) {
	refuse := func(err error) error {
		return &volume.Error{
			Kind: volume.Precondition, Op: "read the class's Secret", On: namespace + "/" + name, Err: err,
			Next: `put heketi's key into that Secret under "key"`,
		}
	}
	if b.Secrets == nil {
		return "", refuse(errors.New("this controller has no access to Secrets"))
	}
	values, err := b.Secrets.Secret(ctx, namespace, name)
	if err != nil && !volume.Is(err, volume.NotFound) {
		return "", err
	}
	if err != nil || len(values) == 0 {
		return "", refuse(errors.Join(errors.New("it does not exist or is empty"), err))
	}
	if key, ok := values["key"]; ok {
		return key, nil
	}
	keys := slices.Sorted(maps.Keys(values))
	return values[keys[len(keys)-1]], nil
}
