#!/usr/bin/env bash
# Installs what is missing, builds, starts three peers on this machine and runs the main job on them: Doris resource calls
# through any peer, with the leader killed in the middle of a stream of writes; then files, a snapshot and a restore, with the
# leader killed in the middle of the copy, and a clone that is read after its source is gone. Usage: quickstart.sh [--keep]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/prepare.sh
keep=${1:-}
[ -z "$keep" ] || [ "$keep" = --keep ] || { echo "usage: $0 [--keep]" >&2; exit 64; }

install_missing
use_target_cache
use_rocksdb_archive
echo "building quorate"
cargo build --quiet --package quorate
quorate="$CARGO_TARGET_DIR/debug/quorate"

dir=$(mktemp -d)
base=$(python3 - <<'PY' 2>/dev/null || echo 5000
import socket
for base in [5000] + list(range(21000, 29000, 100)):
    try:
        held = []
        for port in [base, base + 1, base + 10, base + 11, base + 20, base + 21]:
            s = socket.socket(); s.bind(("127.0.0.1", port)); held.append(s)
        print(base); break
    except OSError:
        pass
PY
)
token=greedisgood9999
p1=127.0.0.1:$base p2=127.0.0.1:$((base + 10)) p3=127.0.0.1:$((base + 20))
finish() {
  [ -z "${writer:-}" ] || kill "$writer" 2>/dev/null || true
  if [ "$keep" = --keep ]; then
    echo "left running in $dir; stop with: $quorate dev stop --dir $dir"
  else
    "$quorate" dev stop --dir "$dir" >/dev/null 2>&1 || true
    rm -rf "$dir"
  fi
}
trap finish EXIT
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
call() { # call PEER ROUTE BODY
  curl --silent --show-error --max-time 15 -X PUT "http://$1/MetaService/http/$2?token=$token" -d "$3"
}

start_again() { # start_again PEER: as it was started before; returns when it serves and the others have heard of it
  local again port="p$1"
  mapfile -t again < <(jq -r ".[] | select(.peer == $1) | .args[]" "$dir/dev.json")
  [ ${#again[@]} -gt 0 ] || { echo "how peer $1 was started is not in $dir/dev.json" >&2; return 1; }
  setsid "$quorate" "${again[@]}" >>"$dir/peer-$1.log" 2>&1 &
  jq "map(if .peer == $1 then .pid = $! else . end)" "$dir/dev.json" >"$dir/dev.json.new" && mv "$dir/dev.json.new" "$dir/dev.json"
  for _ in $(seq 200); do
    if curl --silent --fail --max-time 2 "http://${!port}/readyz" >/dev/null; then sleep 1.5; return; fi
    sleep 0.1
  done
  echo "peer $1 does not serve; its log is $dir/peer-$1.log" >&2
  return 1
}

say "Three peers"
"$quorate" dev --dir "$dir" --base-port "$base" --detach

say "Create an instance with S3 settings, through peer 1"
call "$p1" create_instance '{"instance_id":"demo","name":"warehouse","user_id":"me","obj_info":{"ak":"my-ak","sk":"my-sk",
  "bucket":"my-bucket","prefix":"data","endpoint":"s3.example.com","external_endpoint":"s3.example.com","region":"eu-1","provider":"S3"}}'

say "Add an SQL cluster through peer 2 and a compute cluster through peer 3"
call "$p2" add_cluster '{"instance_id":"demo","cluster":{"cluster_id":"fe","cluster_name":"fe","type":"SQL",
  "nodes":[{"cloud_unique_id":"1:demo:fe0","ip":"10.0.0.1","edit_log_port":9010,"node_type":"FE_MASTER"}]}}'
call "$p3" add_cluster '{"instance_id":"demo","cluster":{"cluster_id":"be","cluster_name":"be","type":"COMPUTE",
  "nodes":[{"cloud_unique_id":"1:demo:be0","ip":"10.0.0.2","heartbeat_port":9050}]}}'

say "Read each of them back through a peer that did not take it"
curl --silent --show-error --max-time 15 "http://$p3/MetaService/http/get_instance?token=$token&instance_id=demo" \
  | jq -ce 'select(.code == "OK").result | {instance_id, name, s3: (.obj_info[0] | {provider, endpoint, region, bucket, prefix, ak})}'
cluster='select(.code == "OK").result | {cluster_id, type, nodes: [.nodes[] | del(.ctime, .mtime)]}'
call "$p1" get_cluster '{"instance_id":"demo","cloud_unique_id":"1:demo:fe0","cluster_id":"fe"}' | jq -ce "$cluster"
call "$p2" get_cluster '{"instance_id":"demo","cloud_unique_id":"1:demo:be0","cluster_id":"be"}' | jq -ce "$cluster"

say "A wrong token changes nothing"
curl --silent "http://$p1/MetaService/http/drop_instance?token=wrong" -d '{"instance_id":"demo"}'

# A status with findings has an exit code of its own, and so soon after a start there may be some.
leader=$({ "$quorate" status --endpoint "$p1" -o json || true; } | jq -r .leader_id)
pid=$(jq -r ".[] | select(.peer == ($leader|tonumber)) | .pid" "$dir/dev.json")
say "Kill -9 the leader (peer $leader, pid $pid) in the middle of a stream of writes"
: >"$dir/acknowledged"
survivors=()
for n in 1 2 3; do [ "$n" = "$leader" ] || { v="p$n"; survivors+=("${!v}"); }; done
(
  n=0
  while [ ! -e "$dir/stop" ]; do
    n=$((n + 1))
    at=${survivors[$((n % 2))]}
    if call "$at" create_instance "{\"instance_id\":\"w$n\",\"name\":\"w\",\"user_id\":\"me\"}" 2>/dev/null | grep -q '"OK"'; then
      echo "w$n $(date +%s%N)" >>"$dir/acknowledged"
    fi
  done
) &
writer=$!
until [ "$(wc -l <"$dir/acknowledged" 2>/dev/null || echo 0)" -ge 50 ]; do sleep 0.05; done
kill -9 "$pid"
killed_at=$(wc -l <"$dir/acknowledged")
until [ "$(wc -l <"$dir/acknowledged")" -ge $((killed_at + 100)) ]; do sleep 0.05; done
touch "$dir/stop"
wait "$writer" || true
gap=$(awk 'NR > 1 { gap = $2 - last; if (gap > most) most = gap } { last = $2 } END { printf "%d", most / 1000000 }' "$dir/acknowledged")
total=$(wc -l <"$dir/acknowledged")
lost=0
for peer in "${survivors[@]}"; do
  while read -r id _; do
    curl --silent --max-time 15 "http://$peer/MetaService/http/get_instance?token=$token&instance_id=$id" | grep -q '"OK"' || { lost=$((lost + 1)); echo "LOST $id at $peer"; }
  done <"$dir/acknowledged"
done
echo "$total writes were acknowledged; writes stopped for at most $gap ms (one curl after the other); $lost are missing"

say "What status says, and the killed peer back again"
"$quorate" status --endpoint "${survivors[0]}" || true
start_again "$leader"
v="p$leader"
"$quorate" status --endpoint "${!v}" || true
[ "$lost" = 0 ] || { echo "acknowledged writes are missing" >&2; exit 1; }

export QUORATE_ENDPOINTS=$p1,$p2,$p3 QUORATE_TOKEN=$token
say "Import some hundred real files into a collection, take a snapshot, drop the collection"
mkdir "$dir/files"
# Up to 600 MB: a copy that has a middle.
find /usr/lib /usr/share /usr/bin -xdev -type f -readable -size +64k -size -4M -printf '%s %p\n' 2>/dev/null | sort -rn \
  | awk 'NR <= 600 && (total += $1) <= 600000000' | while read -r _ file; do cp "$file" "$dir/files/$(printf %s "$file" | tr / _)"; done
"$quorate" instance create shop
"$quorate" collection create shop logs
"$quorate" segment import shop "$dir/files" --collection logs --files-per-segment 5
"$quorate" snapshot create shop nightly --collection logs
"$quorate" collection drop shop logs --yes

say "Restore it under another name; kill -9 the leader in the middle of the copy"
job=$("$quorate" snapshot restore shop nightly --to logs_again -o json | jq -r .job_id)
"$quorate" job watch "$job" &
watch=$!
leader=$({ "$quorate" status -o json || true; } | jq -r .leader_id)
pid=$(jq -r ".[] | select(.peer == ($leader|tonumber)) | .pid" "$dir/dev.json")
files=$(find "$dir/files" -type f | wc -l)
# Workers report every few seconds; the directory shows how far they are now.
until copied=$(find "$dir/vault" -path "*/j$job/*" -type f 2>/dev/null | wc -l); [ "$copied" -ge $((files * 2 / 5)) ]; do sleep 0.01; done
kill -9 "$pid"
echo "peer $leader is dead; $copied of $files files were being copied or done"
wait "$watch"

compare() { # compare INSTANCE: every byte of its collection with what was imported; leaves names and places in $dir/files-of-INSTANCE
  local list="$dir/files-of-$1" name copy
  "$quorate" segment list "$1" --collection logs_again -o json \
    | jq -r --arg vault "$dir/vault" '.[] | .path as $path | .files[] | "\(.name)\t\($vault)/\($path)/\(.name)"' >"$list"
  while IFS=$'\t' read -r name copy; do cmp "$dir/files/$name" "$copy"; done <"$list"
  [ "$(wc -l <"$list")" = "$files" ] || { echo "files are missing" >&2; exit 1; }
  echo "$files files of $1 are the same, $(du --summarize --human-readable --apparent-size "$dir/files" | cut -f1) in all"
}
say "Compare every file with what was imported"
compare shop
"$quorate" gc verify shop

say "Clone the instance, give the clone copies of its own, cut it from its source, drop the source"
snapshot=$("$quorate" snapshot create shop whole -o json | jq -r .snapshot_id)
"$quorate" instance clone shop lab --snapshot "$snapshot"
"$quorate" instance compact lab --copy-files --wait
"$quorate" instance decouple lab --yes
"$quorate" snapshot drop shop whole --yes
"$quorate" instance drop shop --yes

say "Read every byte of the clone"
"$quorate" collection describe lab logs_again
compare lab
if grep -qxFf <(cut -f2 "$dir/files-of-shop") <(cut -f2 "$dir/files-of-lab"); then echo "the clone reads files of its source" >&2; exit 1; fi
echo "none of them is one of shop's files"

say "The killed peer again"
start_again "$leader"
"$quorate" status || true
say "Done: nothing that was acknowledged is lost."
