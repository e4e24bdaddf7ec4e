#!/bin/sh
# A real Slurm on this machine alone, with two GPUs that are counted though none is there:
#   one_machine.sh start FOLDER      its state and logs lie in FOLDER
#   one_machine.sh stop FOLDER       ends what `start` started, and takes its configuration away
# It wants Debian's slurm-wlm and munge, and root. The configuration has to be the system's own: the
# steps of a job look for it there, whatever $SLURM_CONF says.
set -eu
conf=/etc/slurm/slurm.conf
mark="# written by tests/slurm/one_machine.sh"

stop() {
  for name in slurmd slurmctld munged; do
    if [ -f "$2/$name.pid" ]; then kill "$(cat "$2/$name.pid")" 2> /dev/null || true; fi
  done
  if grep -qsF "$mark" $conf; then rm -f $conf /etc/slurm/gres.conf; fi
}

start() {
  if [ -f $conf ] && ! grep -qF "$mark" $conf; then
    echo "$conf is another cluster's" >&2
    exit 1
  fi
  folder=$2 host=$(hostname)
  mkdir -p "$folder/state" "$folder/spool" /run/munge
  chown munge: /run/munge
  [ -f /etc/munge/munge.key ] || mungekey --create
  runuser -u munge -- munged --force --pid-file=/run/munge/pouta.pid --log-file=/run/munge/log
  ln -sf /run/munge/pouta.pid "$folder/munged.pid"
  touch "$folder/gpu0" "$folder/gpu1"
  echo "Name=gpu File=$folder/gpu[0-1]" > /etc/slurm/gres.conf
  cat > $conf << END
$mark
ClusterName=one_machine
SlurmctldHost=$host
SlurmUser=root
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=3600
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
NodeName=$host CPUs=$(nproc) RealMemory=1000000 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
END
  slurmctld -c  # nothing of an earlier time
  slurmd
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    if [ "$(sinfo --noheader --format %T 2> /dev/null)" = idle ]; then return; fi
    sleep 1
  done
  echo "no idle node after 20 s: see $folder/slurmctld.log and $folder/slurmd.log" >&2
  exit 1
}

"$1" "$@"
