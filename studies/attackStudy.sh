#!/usr/bin/env bash
# The study behind docs/attack-results.md: what the look-ahead of meta-learning is worth, and what colour is.
#     bash studies/attackStudy.sh [SEED ...]        seeds of the attack, default 0 1 2 3 4; goes on where it was killed
# Needs the demo (bash runDemo.sh); writes runs/attack-study, then the page to standard output.
# OSNET=osnet_x0_25_msmt17.onnx adds a model that others trained on real people.
set -euo pipefail
cd "$(dirname "$0")/.."
source environment.sh requirements.txt runs/demo/summary.json
STUDY=runs/attack-study
DEMO=runs/demo
SHARED="--data $DEMO/data --height 80 --width 40 --batch_size 32 --num-instances 4 --precision fp32"
declare -A MODELS=([A]=$DEMO/A/model_best.pth [B]=$DEMO/B/model_best.pth [D]=$DEMO/D/model_best.pth)
if [ -n "${OSNET:-}" ]; then MODELS[OSNet]=$OSNET; fi

learn() {  # learn NAME STEPS_PER_EPOCH OPTIONS...: a perturbation of type 0 on A, in four epochs
  "$PYTHON" metaAttack.py -s synth-a $SHARED --resume "${MODELS[A]}" --seed "$SEED" --epochs 4 --iters-per-epoch "$2" \
    --noise_resume "$STUDY/$1/$SEED" --resume-from auto "${@:3}" >&2
}

evaluate() {  # evaluate MODEL OPTIONS...
  local dataset=synth-a reading=
  if [ "$1" = B ]; then dataset=synth-b; fi
  if [ "$1" = OSNet ]; then reading="--preprocessing own"; fi
  "$PYTHON" evaluate.py -d $dataset $SHARED --resume "${MODELS[$1]}" $reading --results "$STUDY/results/$1" --reuse "${@:2}" >&2
}

[ $# -gt 0 ] || set -- 0 1 2 3 4
for SEED in "$@"; do  # 96 gradients each; a step on both sets takes two
  learn maml-96 12 -m synth-virtual
  learn alternating-96 12 -m synth-virtual --recipe alternating
  learn both-96 12 -m synth-virtual --recipe none
  learn source-96 24 --recipe none
done
for MODEL in "${!MODELS[@]}"; do
  if [ "$MODEL" != D ]; then evaluate "$MODEL" --attack "$STUDY"/*-*/*/best_perturbation3.pth; fi
  evaluate "$MODEL" --plugin studies/colour.py --suite colour --restarts 2 --adaptive-epochs 6
done
"$PYTHON" -m studies.attack "$STUDY"
