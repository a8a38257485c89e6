#!/usr/bin/env bash
# What only a GPU can tell, in order of worth, within eight minutes: bash bench/gpu.sh [--dry] [part …]
# Every part prints as it goes. One that fails or runs out of time stops no other; the exit status is 1 if any did,
# and 2 if there is no such part.
# CIFAR10 names a folder with train*.parquet and test*.parquet; without it data=shapes is trained on.
set -u
cd "$(dirname "$0")/.."
total=480 slow=1 # seconds, and what stretches the limits
failed=() count=0

if [ "${1:-}" = --dry ]; then # on a CPU, with sizes that only show that it runs
    shift
    device=cpu total=3600 slow=10
    views=(--sides 32 --images 8 --rounds 1)
    data=(data=shapes data.source.train=256 data.source.test=64)
    few=(data.source.train=64 data.source.test=64 data.batch_size=8)
    step=(--backbones resnet_tiny --steps 5 trainer=cpu "${few[@]}")
    loss=(--images 32 --large 0 --dim 8 --rounds 1 --only infonce)
    faiss=(--train 600 --test 50 --dim 16 --rounds 1)
    curve=(--seconds 1 --probe 12 trainer=cpu backbone=resnet_tiny data.batch_size=16 data.holdout=64 head.hidden=32) seconds=1
    ranks=(trainer=ddp_cpu trainer.max_steps=1 "${few[@]}")
else
    device=cuda data=(data=shapes)
    [ -n "${CIFAR10:-}" ] && data=(data=parquet "data.train=$CIFAR10/train*.parquet" "data.test=$CIFAR10/test*.parquet")
    views=(--sides 32 224 --images 512)
    step=(--backbones resnet18 vit_s --steps 40 data.batch_size=256)
    loss=(--images 4096 16384 --only infonce dcl dclw barlow vicreg koleo cosine wmse swav dino)
    faiss=(--train 50000 --test 10000 --rounds 1)
    curve=(trainer=gpu data.holdout=2000 monitor.knn.queries=2000 monitor.knn.bank=10000) seconds=80
    ranks=(trainer=ddp trainer.max_steps=20)
fi

part() { # name, seconds, command
    local name=$1 limit=$(($2 * slow)) left=$((total - SECONDS)) began=$SECONDS status
    [ ${#only[@]} -gt 0 ] && [[ " ${only[*]} " != *" $name "* ]] && return
    limit=$((limit < left ? limit : left))
    count=$((count + 1))
    echo "== $name: ${*:3}"
    [ $limit -gt 0 ] && timeout --kill-after=5 "$limit" "${@:3}" 2>&1
    status=$?
    if [ $status = 0 ]; then
        echo "== $name: done in $((SECONDS - began)) s"
    else
        echo "== $name: FAILED with status $status after $((SECONDS - began)) s"
        failed+=("$name")
    fi
}

only=("$@")
part views 40 python -um bench.views --device $device "${views[@]}"
part step 70 python -um bench.step "${step[@]}"
part compiled 70 python -um bench.step "${step[@]}" trainer.compile=true
part loss 50 python -um bench.loss --device $device "${loss[@]}"
part syncs 40 python -um bench.step --syncs "${step[@]}"
part faiss 30 python -um bench.eval --only knn "${faiss[@]}"
curve=(python -um bench.curve --seconds $seconds experiment=simclr "${data[@]}" "${curve[@]}")
part simclr 130 "${curve[@]}"
part muon 130 "${curve[@]}" optim=muon optim.lr=0.04 optim.weight_decay=0.01
part nccl 40 python -u train.py trainer.devices=1 eval=none "runs=$(mktemp -d)" "${ranks[@]}"
((count < ${#only[@]})) && echo "error: ${only[*]}: $count of these parts exist" >&2 && exit 2
echo "== $count parts in $SECONDS s, ${#failed[@]} failed${failed:+: ${failed[*]}}"
[ ${#failed[@]} = 0 ]
