#!/usr/bin/env bash
# Measure the tables of docs/results again: ./scripts/results.sh FOLDER [TABLE...]
# TABLE: any of those below; torch: all tables of PyTorch, which .venv-torch runs (./scripts/setup.sh --torch). Default: all
# but those of PyTorch, about 15 hours on two cores. Results are written to FOLDER; finished runs are
# not repeated. Needs root: the hosts are simulated with network namespaces. To keep a table of training runs in the docs:
#   python -m byteps_gc report FOLDER/TABLE --out docs/results/TABLE
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../example/mxnet/gradient_compression" && pwd)
. "$here/settings.sh"
tables="2-hosts-100mbit 2-hosts-1gbit 2-hosts 4-hosts-100mbit 4-hosts-1gbit 4-hosts accuracy convergence"
tables+=" guide-threshold peers compressors step-model"
torch=""
for example in cifar gpt; do
    torch+=" $(echo torch-$example-{2,4}-hosts-{100mbit,1gbit})"
done
if [ $# -eq 0 ] || [[ $1 = -* ]]; then
    echo "results: usage: ./scripts/results.sh FOLDER [TABLE...]; tables: $tables torch$torch" >&2
    exit 2
fi
folder=$(realpath -m "$1"); shift
chosen=""
for table in "${@:-$tables}"; do
    [[ " $tables torch$torch " = *" $table "* ]] \
        || { echo "results: unknown table $table; known: $tables torch$torch" >&2; exit 2; }
    [ "$table" = torch ] && chosen+=$torch || chosen+=" $table"
done
export BYTEPS_MIN_COMPRESS_BYTES=65536  # BytePS's default; the guide's is 1024000
guide="baseline baseline-fp16 onebit topk randomk dithering"
all="$guide topk-ef randomk-ef dithering-ef ternary-ef int8-ef"

train() {  # TABLE JOBS IMAGES FLAGS-OF-THE-CLUSTER...
    local table=$1 jobs=$2 images=$3; shift 3
    reproduce "$table" "$jobs" "$@" -- --dataset fashion-mnist --train-samples "$images" --val-samples 2000 \
        --num-epochs 3 --warmup-epochs 0 --lr 0.02
}

# A net that can be trained to the end here. Of its gradients, 93 % are compressed; of resnet18_v2's, with the guide's
# threshold, 92 %. The guide's schedule on a tenth of its epochs: warm-up in the first twentieth, decay at one half and
# at three quarters. Batches and learning rate are half the guide's. 22 runs of
# about 7 minutes.
converge() {  # TABLE FLAGS-OF-THE-CLUSTER...
    local table=$1; shift
    BYTEPS_MIN_COMPRESS_BYTES=16384 reproduce "$table" "$all" "$@" -- --model cifar_resnet20_v1 --batch-size 16 \
        --dataset fashion-mnist --train-samples 5120 --val-samples 5000 --num-epochs 20 --lr 0.05 --warmup-lr 0.05 \
        --warmup-epochs 1 --lr-decay-epoch 10,15
}

run() {  # COMMAND...: run it to its end; it ends with this script
    "$@" &
    wait $!
}
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'kill $(jobs -p) 2>/dev/null && wait || true' EXIT

reproduce() {  # TABLE JOBS FLAGS-OF-THE-CLUSTER... -- FLAGS
    local table=$1 jobs=$2; shift 2
    run "$here/../../../scripts/reproduce.sh" cifar100 "$jobs" --seeds 2 --out "$folder/$table" "$@"
}

train_torch() {  # TABLE: torch-EXPERIMENT-N-hosts-RATE
    local parts
    IFS=- read -ra parts <<<"$1"
    run "$here/../../../.venv-torch/bin/python" -m byteps_gc reproduce "$here/../../pytorch/${parts[1]}.ini" --seeds 2 \
        --out "$folder/$1" --hosts "${parts[2]}" --rate "${parts[4]}"
}

bench() {
    mkdir -p "$folder"
    run "$BYTEPS_GC_PYTHON" -m byteps_gc bench "$@"
}

for table in $chosen; do
    case $table in
        2-hosts-100mbit) train "$table" "$all" 5120 --hosts 2 --rate 100mbit ;;
        2-hosts-1gbit) train "$table" "$guide" 5120 --hosts 2 --rate 1gbit ;;
        2-hosts) train "$table" "$guide" 5120 --hosts 2 ;;
        4-hosts-100mbit) train "$table" "$guide" 5120 --hosts 4 --rate 100mbit ;;
        4-hosts-1gbit) train "$table" "$guide" 5120 --hosts 4 --rate 1gbit ;;
        4-hosts) train "$table" "$guide" 5120 --hosts 4 ;;
        accuracy) train "$table" "$all" 20000 --hosts 2 ;;
        convergence) converge "$table" --hosts 2 ;;
        guide-threshold) BYTEPS_MIN_COMPRESS_BYTES=1024000 train "$table" "$guide" 5120 --hosts 2 --rate 100mbit ;;
        torch-*) train_torch "$table" ;;
        peers) bench peers --json "$folder/peers.json" --markdown "$folder/peers.md" ;;
        compressors) bench compressors --json "$folder/compressors.json" ;;
        step-model)  # from the other tables; compute seconds of V100s with the guide's batch sizes
            folders=("$folder"/[24]-hosts*)
            [ ! -d "$folder/accuracy" ] || folders+=("$folder/accuracy")  # rows without a limit that 2-hosts lacks
            bench predict "${folders[@]}" --markdown "$folder/step_model.md" \
                --compressors "$folder/compressors.json" --partition-bytes 1024000 \
                --compute resnet50_v2=0.167 --compute vgg16=0.133 ;;
    esac
done
