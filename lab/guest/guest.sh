#!/bin/bash
# What a storage node does for the lab: `boot` runs as its first process, the other
# verbs over ssh. There is no systemd and no udev. Nothing but sshd is restarted
# when it dies: tests kill things to see them stay dead.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DM_DISABLE_UDEV=1
# NODE ADDRESS LVM_DISKS BRICK_DISKS (DEVICE:NAME ...) AGENT (path or empty) AGENT_PORT METRICS_PORT GATEWAY POD_NETWORK NETWORK RTO_MIN
. /lab/node.env

AGENT_PID=/run/bricklayer-agent.pid
AGENT_LOG=/var/log/bricklayer-agent.log

die() { echo "$*" >&2; exit 1; }

# running NAME: there is such a process, and it is no zombie.
running() { pgrep -x -r R,S,D "$1" >/dev/null; }

# agent_pid: the agent's process; the name alone could be an administrator's command.
agent_pid() {
    local pid
    pid=$(cat $AGENT_PID 2>/dev/null) && [ -n "$pid" ] || return 1
    pgrep -x -r R,S,D bricklayer | grep -x "$pid"
}

# started NAME: waits until a process that was sent to the background is itself.
# Without, a second caller finds none and starts another.
started() {
    local i
    for i in $(seq 100); do
        running "$1" && return
        sleep 0.02
    done
}

boot() {
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev 2>/dev/null
    mkdir -p /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    mount -t tmpfs shm /dev/shm
    mount -t tmpfs -o mode=755 run /run # sshd wants its keys where only root writes
    mkdir -p /run/lock /run/lvm /run/sshd /run/gluster
    # hostfs shows a file that somebody has open as it was then: the first process
    # must not keep this one, or the guest never sees another version of it.
    cp /lab/guest.sh /run/guest.sh
    exec /bin/bash /run/guest.sh serve
}

serve() {
    hostname "$NODE"
    cp /lab/hosts /etc/hosts
    ip link set lo up
    ip addr add "$ADDRESS/24" dev vec0
    ip link set vec0 up
    # Now and then a packet lies in this kernel's network device until another comes,
    # and a peer with nothing else to send comes again after 200 ms: sooner, please.
    ip route replace "$NETWORK" dev vec0 proto kernel scope link src "$ADDRESS" rto_min "$RTO_MIN"
    # To the pods of the lab's Kubernetes, and nowhere else: a look-up of a name has
    # to fail at once, and glusterd makes many.
    ip route add "$POD_NETWORK" via "$GATEWAY"
    install -m 600 /lab/ssh_host_key /run/sshd/host_key
    install -m 600 /lab/authorized_keys /run/sshd/authorized_keys
    (
        for m in dm-mod dm-thin-pool dm-snapshot fuse loop; do modprobe "$m"; done
        vgchange -ay >/dev/null 2>&1
        repair
        start_agent
        echo "node $NODE: booted at $(cut -d' ' -f1 /proc/uptime) s"
    ) &
    while :; do
        /usr/sbin/sshd -D
        echo "sshd ended ($?), starting it again"
        sleep 0.2
    done
}

# One at a time starts things; what it starts must not inherit the lock (9>&-).
repair_lock() {
    exec 9>/run/lock/repair
    flock 9
}

# repair brings up what an agent needs, and not the agent: a broken build of that
# must not cost anybody the node. It may be called at any time.
repair() {
    repair_lock
    mount_roots
    mount -a 2>/dev/null
    start_glusterd
}

mount_roots() {
    local d dev name
    for d in $BRICK_DISKS; do
        dev=/dev/${d%%:*} name=${d#*:}
        mountpoint -q "/bricks/$name" && continue
        mkdir -p "/bricks/$name"
        if [ "$(blkid -o value -s TYPE "$dev")" != xfs ]; then
            format_root "$dev" "$name" || die "node $NODE: brick root $name on $dev could not be made"
        fi
        mountpoint -q "/bricks/$name" ||
            mount -t xfs -o noatime,inode64,prjquota "$dev" "/bricks/$name" ||
            die "node $NODE: brick root $name: $dev does not mount"
    done
}

# The product makes its own brick roots, so that the lab's are as it makes them. -K:
# to discard a sparse disk of many GiB takes long and frees nothing.
format_root() {
    if [ -n "$AGENT" ]; then
        "$AGENT" agent init --config /lab/agent.yaml --format --device "$1" --root "$2" >>"$AGENT_LOG" 2>&1 9>&- && return
        echo "node $NODE: agent init --format of root $2 failed: $(tail -n 1 "$AGENT_LOG")" >&2
        return 1
    fi
    mkfs.xfs -q -f -K "$1"
}

# mark_roots: roots that an earlier lab made without an agent have no marker yet.
mark_roots() {
    local d
    [ -n "$AGENT" ] || return 0
    for d in $BRICK_DISKS; do
        "$AGENT" agent init --config /lab/agent.yaml --root "${d#*:}" >>"$AGENT_LOG" 2>&1 9>&- ||
            echo "agent init of root ${d#*:} failed: $(tail -n 1 "$AGENT_LOG")"
    done
}

# set_aside_torn: a glusterd that was killed while it wrote a new volume's record
# down leaves it without its info, or with an empty brick file, and does not start
# again ("Unable to restore volume"). Without the record it takes the volume from
# its peers, if they have it.
set_aside_torn() {
    local vol
    for vol in /var/lib/glusterd/vols/*/; do
        [ -d "$vol" ] || continue
        [ -s "$vol/info" ] && [ -z "$(find "$vol/bricks" -type f -empty 2>/dev/null)" ] && continue
        echo "node $NODE: set aside the torn record of volume $(basename "$vol")"
        mkdir -p /var/lib/glusterd/torn
        rm -rf "/var/lib/glusterd/torn/$(basename "$vol")"
        mv "$vol" /var/lib/glusterd/torn/
    done
}

start_glusterd() {
    running glusterd && return
    set_aside_torn
    mkdir -p /run/gluster
    # It answers its parent only once it is ready; nobody here waits for that.
    setsid glusterd -p /run/glusterd.pid --log-level INFO </dev/null >/dev/null 2>&1 9>&- &
    started glusterd
}

# start_agent: one of another build makes way.
start_agent() {
    local from pid
    [ -n "$AGENT" ] || return 0
    if pid=$(agent_pid); then
        [ "$(readlink "/proc/$pid/exe")" = "$AGENT" ] && return
        echo "agent restarts with the new build"
        kill_agent
    fi
    ln -sfn "$AGENT" /usr/local/bin/bricklayer
    touch "$AGENT_LOG"
    mark_roots
    from=$(wc -l <"$AGENT_LOG")
    setsid "$AGENT" agent --config /lab/agent.yaml --metrics-address ":$METRICS_PORT" </dev/null >>"$AGENT_LOG" 2>&1 9>&- &
    echo $! >$AGENT_PID
    started bricklayer
    for _ in $(seq 100); do
        [ -n "$(ss -Hltn "sport = :$AGENT_PORT")" ] && return
        agent_pid >/dev/null || break
        sleep 0.05
    done
    die "node $NODE: the agent does not listen on port $AGENT_PORT; its log ($AGENT_LOG) says:
$(tail -n +$((from + 1)) "$AGENT_LOG" | head -n 15)"
}

# kill_wait NAME: ends all processes of that name and waits until they are gone.
kill_wait() {
    local i
    for i in $(seq 100); do
        pkill -9 -x "$1" || return 0
        sleep 0.05
    done
    die "node $NODE: $1 is still there after kill -9"
}

kill_agent() {
    local pid i
    pid=$(cat $AGENT_PID 2>/dev/null) || return 0
    for i in $(seq 100); do
        agent_pid >/dev/null || { rm -f $AGENT_PID; return 0; }
        kill -9 "$pid"
        sleep 0.05
    done
    die "node $NODE: agent (pid $pid) is still there after kill -9"
}

# ready SECONDS: waits until glusterd answers; its port listens long before.
ready() {
    local end=$((SECONDS + $1))
    until timeout 10 gluster --mode=script pool list >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "node $NODE: glusterd does not answer 'gluster pool list' within $1 s:
$(tail -n 5 /var/log/glusterfs/glusterd.log)"
        sleep 0.1
    done
}

# peers COUNT SECONDS: waits until so many nodes, this one included, see each other.
peers() {
    local end=$((SECONDS + $2)) pool
    until pool=$(timeout 10 gluster --mode=script pool list 2>&1) && [ "$(connected "$pool")" = "$1" ]; do
        [ $SECONDS -lt $end ] || die "node $NODE: want $1 peers connected, after $2 s gluster pool list says:
$pool"
        sleep 0.2
    done
}

connected() { grep -c 'Connected *$' <<<"$1"; }

# offline_bricks: started volumes that have a brick of this node without a process.
offline_bricks() {
    local info vol brick path pid
    for info in /var/lib/glusterd/vols/*/info; do
        grep -qs '^status=1$' "$info" || continue
        vol=$(basename "$(dirname "$info")")
        for brick in "$(dirname "$info")/bricks/$ADDRESS:"*; do
            [ -e "$brick" ] || continue
            path=$(sed -n 's/^path=//p' "$brick")
            pid=$(cat "/run/gluster/vols/$vol/$ADDRESS${path//\//-}.pid" 2>/dev/null)
            if [ -z "$pid" ] || [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != glusterfsd ]; then
                echo "$vol"
                break
            fi
        done
    done
}

# check: one key=value a line, read by check.go.
check() {
    local pool d
    if ! running glusterd; then
        echo glusterd=dead
    elif pool=$(timeout 10 gluster --mode=script pool list 2>/dev/null); then
        echo glusterd=ok
        echo "peers=$(connected "$pool")"
    else
        echo glusterd=silent
    fi
    for d in $BRICK_DISKS; do
        mountpoint -q "/bricks/${d#*:}" || echo "unmounted=${d#*:}"
    done
    if d=$(agent_pid); then echo "agent=$(readlink "/proc/$d/exe")"; fi
    for d in $(offline_bricks); do echo "offline=$d"; done
}

umount_all_xfs() {
    local m
    for m in $(awk '$3 == "xfs" {print $2}' /proc/mounts | tac); do
        umount "$m" 2>/dev/null && continue
        fuser -k -KILL -m "$m" >/dev/null 2>&1
        sleep 0.1
        umount "$m" || die "node $NODE: $m does not unmount: $(fuser -v -m "$m" 2>&1)"
    done
}

# The reset has two halves, because a glusterd that still runs on one node would
# give its volumes back to one that starts empty: all nodes stop, then all start.
# The disks are emptied in between, by the host, which is quicker than from here.
reset_stop() {
    local d
    kill_agent
    for d in glusterd glusterfsd glusterfs; do kill_wait $d; done
    rm -rf /var/lib/glusterd/{vols,snaps,glustershd,quotad,bitd,scrub,nfs}/* \
        /var/lib/glusterd/{options,missed_snaps_list} /run/gluster/* /var/log/glusterfs/bricks/*
    umount_all_xfs
    : >/etc/fstab
    rm -rf /var/lib/heketi/mounts/* /etc/lvm/archive/* /etc/lvm/backup/* /etc/fstab.save # not before they are unmounted
    vgchange -an >/dev/null 2>&1
    dmsetup remove_all --force >/dev/null 2>&1
    rm -f $AGENT_LOG
}

case ${1-} in
boot) boot ;;
serve) serve ;;
repair) repair ;;
ready) ready "$2" ;;
peers) peers "$2" "$3" ;;
check) check ;;
start-glusterd) repair_lock; start_glusterd ;;
kill-glusterd) kill_wait glusterd ;;
start-agent) repair_lock; start_agent ;;
kill-agent) kill_agent ;;
reset-stop) reset_stop ;;
*) die "guest.sh: unknown verb '${1-}'" ;;
esac
