#!/usr/bin/env bash
# The study behind docs/defense-results.md: every defence against every attacker in training, over three seeds.
#     bash studies/defenseStudy.sh [SEED ...]       default 0 1 2; hours on two cores; goes on where it was killed
# Needs the demo of each seed (bash runDemo.sh SEED); writes runs/defense-study, then the page to standard output.
set -euo pipefail
cd "$(dirname "$0")/.."
source environment.sh requirements.txt
STUDY=runs/defense-study
export OMP_NUM_THREADS=1  # one row at a time on one core; run seeds side by side to use more

rows() {  # ROW DEFENSE ATTACKERS OPTIONS
  local defense attacker
  for attacker in frozen online pgd; do
    for defense in adversarial mixed meta; do echo "$defense-$attacker $defense $attacker --epochs 5 --inner-order first"; done
  done
  echo "none none frozen --epochs 5"
  echo "meta-online-second meta online --epochs 5 --inner-order second"
  for defense in adversarial mixed meta; do
    echo "$defense-all $defense frozen,online,pgd --epochs 8 --inner-order first"
  done
}

[ $# -gt 0 ] || set -- 0 1 2
for SEED in "$@"; do
  DEMO=runs/demo; [ "$SEED" = 0 ] || DEMO=runs/demo-seed$SEED
  SHARED="--data $DEMO/data --height 80 --width 40 --batch_size 32 --num-instances 4 --seed $SEED"
  FROZEN=$DEMO/attack/0/best_perturbation3.pth
  TRANSFER=$STUDY/seed$SEED/transfer/best_perturbation3.pth
  evaluate() {  # evaluate ROW CHECKPOINT
    "$PYTHON" evaluate.py -d synth-a $SHARED --resume "$2" --attack "$FROZEN" "$TRANSFER" --adaptive --adaptive-iters 12 \
      --adaptive-epochs 8 --results "$STUDY/seed$SEED/$1/results" --reuse >&2
  }
  "$PYTHON" metaAttack.py -s synth-b -m synth-virtual $SHARED --resume "$DEMO/B/model_best.pth" --epoch 4 \
    --iters-per-epoch 12 --noise_resume "$(dirname "$TRANSFER")" --resume-from auto
  evaluate undefended "$DEMO/A/model_best.pth"
  rows | while read -r ROW DEFENSE ATTACKERS OPTIONS; do
    FILES=; [[ $ATTACKERS = *frozen* ]] && FILES="--noise_path1 $FROZEN"
    "$PYTHON" metaDefense.py -s synth-a -m synth-virtual $SHARED --resume "$DEMO/A/model_best.pth" --defense "$DEFENSE" \
      --attacker ${ATTACKERS//,/ } $FILES --pgd-steps 3 --lr 1e-3 --iters-per-epoch 25 --eval-every 100 $OPTIONS \
      --logs_dir "$STUDY/seed$SEED/$ROW/model" --resume-from auto < /dev/null
    evaluate "$ROW" "$STUDY/seed$SEED/$ROW/model/model_best.pth" < /dev/null
  done
done
"$PYTHON" -m studies.defense $STUDY
