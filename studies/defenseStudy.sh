#!/usr/bin/env bash
# The study behind docs/defense-results.md: every defence against every attacker in training, over three seeds.
#     bash studies/defenseStudy.sh [SEED ...]       default 0 1 2; hours on two cores; goes on where it was killed
# Needs the demo of each seed (bash runDemo.sh SEED); writes runs/defense-study, then the page to standard output.
set -euo pipefail
cd "$(dirname "$0")/.."
source environment.sh requirements.txt
STUDY=runs/defense-study
export OMP_NUM_THREADS=1  # one row at a time on one core; run seeds side by side to use more

rows() {  # NAME DEFENSE ATTACKERS OPTIONS
  local defense attacker
  for attacker in frozen online pgd; do
    for defense in adversarial mixed meta; do echo "$defense-$attacker $defense $attacker --epochs 5"; done
  done
  echo "none none - --epochs 5"
  echo "meta-online-second meta online --epochs 5 --inner-order second"
  for defense in adversarial mixed meta; do echo "$defense-all $defense frozen,online,pgd --epochs 8"; done
}

describe() {  # describe NAME DEFENSE ATTACKERS: what studies.defense reads of a row
  local attackers=; [ "$3" = - ] || attackers="\"${3//,/\", \"}\""
  mkdir -p "$STUDY/seed$SEED/$1"
  printf '{"name": "%s", "defense": "%s", "attackers": [%s]}\n' "$1" "$2" "$attackers" > "$STUDY/seed$SEED/$1/row.json"
}

[ $# -gt 0 ] || set -- 0 1 2
for SEED in "$@"; do
  DEMO=runs/demo; [ "$SEED" = 0 ] || DEMO=runs/demo-seed$SEED
  SHARED="--data $DEMO/data --height 80 --width 40 --batch_size 32 --num-instances 4 --seed $SEED --precision fp32"
  FROZEN=$DEMO/attack/0/best_perturbation3.pth
  TRANSFER=$STUDY/seed$SEED/transfer/best_perturbation3.pth
  evaluate() {  # evaluate NAME CHECKPOINT
    "$PYTHON" evaluate.py -d synth-a $SHARED --resume "$2" --attack "$FROZEN" "$TRANSFER" --adaptive --adaptive-iters 12 \
      --adaptive-epochs 8 --results "$STUDY/seed$SEED/$1/results" --reuse >&2
  }
  "$PYTHON" metaAttack.py -s synth-b -m synth-virtual $SHARED --resume "$DEMO/B/model_best.pth" --epochs 4 \
    --iters-per-epoch 12 --noise_resume "$(dirname "$TRANSFER")" --resume-from auto
  describe undefended undefended -
  evaluate undefended "$DEMO/A/model_best.pth"
  rows | while read -r NAME DEFENSE ATTACKERS OPTIONS; do
    TRAINED=(--defense "$DEFENSE")
    [ "$ATTACKERS" = - ] || TRAINED+=(--attacker ${ATTACKERS//,/ })
    [[ $ATTACKERS != *frozen* ]] || TRAINED+=(--noise_path1 "$FROZEN")
    describe "$NAME" "$DEFENSE" "$ATTACKERS"
    "$PYTHON" metaDefense.py -s synth-a -m synth-virtual $SHARED --resume "$DEMO/A/model_best.pth" "${TRAINED[@]}" \
      --pgd-steps 3 --lr 1e-3 --iters-per-epoch 25 --eval-every 100 $OPTIONS \
      --logs_dir "$STUDY/seed$SEED/$NAME/model" --resume-from auto < /dev/null
    evaluate "$NAME" "$STUDY/seed$SEED/$NAME/model/model_best.pth" < /dev/null
  done
done
"$PYTHON" -m studies.defense $STUDY
