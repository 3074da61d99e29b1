#!/bin/bash
# First process of a storage node. It is part of the image, so it does only what
# must come before the host's directory is there: the rest is /lab/guest.sh, which
# the lab writes anew each time and which needs no new image.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t hostfs -o ro none /lab
exec /bin/bash /lab/guest.sh boot
