#!/usr/bin/env bash
# The whole job on synthetic people, with nothing but this checkout: data, two victims, attacks, a defended
# model, evaluation, pictures.
#     bash runDemo.sh          seed 0, into runs/demo
#     bash runDemo.sh 1        another seed, into runs/demo-seed1
# Steps that are done are not done again; a killed demo goes on where it was.
set -euo pipefail
cd "$(dirname "$0")"
SEED=${1:-0}
case $SEED in '' | *[!0-9]*) echo "error: the seed '$SEED' is not a whole number; run: bash runDemo.sh [SEED]" >&2; exit 2 ;; esac
source environment.sh requirements.txt

OUT=runs/demo
[ "$SEED" = 0 ] || OUT=runs/demo-seed$SEED
DATA=$OUT/data
SIZE="--height 80 --width 40"
# The time of a demo that was killed and went on is the sum of its parts; a finished one keeps its time.
SECONDS=$(cat $OUT/seconds 2>/dev/null || echo 0)
[ -e $OUT/summary.json ] || trap 'mkdir -p $OUT; echo $SECONDS > $OUT/seconds' EXIT
step() { printf '\n[%3d s] %s\n' "$SECONDS" "$1"; }

step "drawing people: synth-a, synth-b (another place and season), synth-virtual (rendered)"
for NAME in synth-a synth-b synth-virtual; do
  "$PYTHON" -m reid.datasets.synthperson $NAME --root $DATA --seed "$SEED"
done

train() {  # train VICTIM DATASET ARCH EPOCHS
  "$PYTHON" trainReid.py -d "$2" -a "$3" --data $DATA $SIZE --seed "$SEED" --epochs "$4" --iters-per-epoch 25 \
    --lr 2e-3 --eval-every 1 --logs_dir "$OUT/$1" --resume-from auto
}
step "training victim A (resnet10 on synth-a)"
train A synth-a resnet10 7
step "training victim B (resnet18 on synth-b)"
train B synth-b resnet18 5

for TYPE in 0 1 2; do
  step "learning the universal perturbation of type $TYPE against A, meta-tested on synth-virtual"
  "$PYTHON" metaAttack.py -s synth-a -m synth-virtual --resume $OUT/A/model_best.pth --noise_type $TYPE --data $DATA \
    $SIZE --seed "$SEED" --batch_size 32 --num-instances 4 --epoch 4 --iters-per-epoch 12 \
    --noise_resume $OUT/attack/$TYPE --resume-from auto
done

evaluate() {  # evaluate VICTIM DATASET
  "$PYTHON" evaluate.py -d "$2" --resume "$OUT/$1/model_best.pth" --data $DATA $SIZE --seed "$SEED" \
    --attack $OUT/attack/{0,1,2}/best_perturbation3.pth --results "$OUT/results/$1" --reuse
}
step "evaluating A, and the transfer to B"
evaluate A synth-a
evaluate B synth-b

step "training D: A, fine-tuned to withstand attacks: on both sets, against the frozen type 0, an online one, and PGD"
TYPE0=$OUT/attack/0/best_perturbation3.pth
BATCHES="--batch_size 32 --num-instances 4"
"$PYTHON" metaDefense.py -s synth-a -m synth-virtual --resume $OUT/A/model_best.pth --data $DATA $SIZE --seed "$SEED" \
  $BATCHES --defense mixed --attacker frozen online pgd --pgd-steps 3 --noise_path1 $TYPE0 --lr 1e-3 --epochs 6 \
  --iters-per-epoch 25 --eval-every 2 --logs_dir $OUT/D --resume-from auto

step "learning type 0 anew on A and on D, and evaluating both"
for VICTIM in A D; do
  "$PYTHON" evaluate.py -d synth-a --resume "$OUT/$VICTIM/model_best.pth" --data $DATA $SIZE --seed "$SEED" $BATCHES \
    --attack $TYPE0 --adaptive --adaptive-iters 12 --adaptive-epochs 5 --results "$OUT/results/$VICTIM" --reuse
done

step "drawing the pictures, writing the summary"
"$PYTHON" -m reid.report -d synth-a --resume $OUT/A/model_best.pth --attack $TYPE0 --data $DATA $SIZE --out $OUT/attack.png
"$PYTHON" -m reid.report.curve -d synth-a --data $DATA $SIZE --steps 5 --eps 0 2 4 8 --out $OUT/curve.png \
  --model undefended=$OUT/A/model_best.pth=$OUT/results/A defended=$OUT/D/model_best.pth=$OUT/results/D
[ -e $OUT/summary.json ] || echo $SECONDS > $OUT/seconds
"$PYTHON" -m reid.report.demo $OUT --seed "$SEED" --seconds "$(cat $OUT/seconds)"
