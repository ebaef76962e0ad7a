#!/bin/sh
# Process 1 of a User-Mode Linux that sees this machine's files read-only: a real kernel's NFS server and client, with
# one export of each way to treat root, and the share of the files machine as its start-up script makes it. Words of the
# kernel's command line: `python` and `inside`, what to run, `work`, a folder that it may write to. The answer goes to $work/answer; the machine halts in the end whatever happens.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec >/dev/console 2>&1
mount -t proc proc /proc
word() { tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"; }
python=$(word python) inside=$(word inside) work=$(word work)
mount -t sysfs sysfs /sys
for place in /run /var/lib/nfs /mnt /tmp; do mount -t tmpfs tmpfs "$place"; done
mkdir -p /run/out /run/rpc_pipefs /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs /var/lib/nfs/sm
mount -t hostfs -o "$work" none /run/out
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /var/lib/nfs/xtab
cp /run/out/clinic.* /tmp
chmod 644 /tmp/clinic.*
ip link set lo up
mkdir -p /run/uml/lib
ln -s /usr/lib/uml/modules /run/uml/lib/modules
cp -a /etc /run/etc
mount --bind /run/etc /etc
for module in nfsd nfsv3 nfsv4; do modprobe -d /run/uml "$module"; done
mount -t nfsd nfsd /proc/fs/nfsd
mount -t rpc_pipefs sunrpc /var/lib/nfs/rpc_pipefs

# The start-up script on an empty disk, with its own words for exports and servers; systemd is stood in for.
mknod /run/disk b 98 0
mkdir -p /run/bin /mnt/share
cat >/run/bin/systemctl <<'END'
#!/bin/sh
case "$*" in 're'*'start nfs-server' | 'start nfs-server') rpcbind -w; rpc.mountd; rpc.nfsd 8 ;; esac
END
chmod +x /run/bin/systemctl
PATH=/run/bin:$PATH bash -c '. /run/out/startup.sh
DISK=/run/disk DATA=/run/data SHARE=/mnt/share MARKER=/run/marker/formatting STATE=/run/state
prepare_data
prepare_share
export_share 127.0.0.1 "3 4"'
cat /etc/exports.d/openemr.exports

exportfs -o ro,fsid=0,no_subtree_check,insecure 127.0.0.1:/mnt
number=0
for squash in root_squash no_root_squash all_squash,anonuid=1000,anongid=1000; do
  number=$((number + 1))
  place=/mnt/${squash%%,*}
  mkdir -p "$place"
  mount -t tmpfs tmpfs "$place"
  chown 1000:1000 "$place"
  chmod 0700 "$place"
  exportfs -o "rw,$squash,fsid=$number,no_subtree_check,insecure" "127.0.0.1:$place"
done
for squash in root_squash no_root_squash all_squash; do
  mkdir -p "/run/$squash"
  # as Cloud Run mounts: without locks
  timeout 60 mount -t nfs4 -o nolock,hard "127.0.0.1:/$squash" "/run/$squash"
done
mkdir -p /run/share4 /run/share3
timeout 60 mount -t nfs4 -o nolock,hard 127.0.0.1:/share /run/share4
timeout 60 mount -t nfs -o vers=3,nolock,hard,proto=tcp,mountproto=tcp 127.0.0.1:/mnt/share /run/share3
grep nfs /proc/mounts
"$python" "$inside" /run/out
sync
echo o >/proc/sysrq-trigger
sleep 10
