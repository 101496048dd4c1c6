#!/usr/bin/env bash
# slurm.sh start|stop FOLDER: a real Slurm of one node on this machine, for tests. As root, on
# Debian or Ubuntu; installs slurm-wlm and munge if they are missing. FOLDER keeps its state.
# After start: export SLURM_CONF=FOLDER/slurm.conf
set -euo pipefail

action=${1:?start or stop}
folder=$(realpath -m "${2:?folder}")
host=$(hostname -s)

start() {
  if ! command -v slurmctld slurmd munged >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge
  fi
  mkdir -p "$folder"/state "$folder"/spool /run/munge
  getent hosts "$host" >/dev/null || echo "127.0.0.1 $host" >>/etc/hosts
  if [ ! -s /etc/munge/munge.key ]; then
    (umask 077 && head -c 1024 /dev/urandom >/etc/munge/munge.key)
  fi
  chown munge: /etc/munge/munge.key /run/munge
  chmod 400 /etc/munge/munge.key
  local memory cores
  cores=$(env -u OMP_NUM_THREADS nproc) # nproc itself listens to it
  memory=$(($(awk '/^MemTotal/ {print $2}' /proc/meminfo) / 1024 * 9 / 10))
  cat >"$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
KillWait=5
NodeName=$host CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
  pgrep -x munged >/dev/null || setpriv --reuid munge --regid munge --clear-groups munged
  export SLURM_CONF=$folder/slurm.conf
  slurmctld
  slurmd
  for _ in $(seq 60); do
    if sinfo -h -o %T 2>/dev/null | grep -q idle; then
      sinfo
      return
    fi
    sleep 1
  done
  echo "the node does not become idle; see $folder/slurmctld.log" >&2
  return 1
}

stop() {
  for name in slurmd slurmctld; do
    if [ -s "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" || true; fi
  done
}

case $action in
start) start ;;
stop) stop ;;
*)
  echo "start or stop" >&2
  exit 2
  ;;
esac
