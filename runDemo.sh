#!/usr/bin/env bash
# The whole job on synthetic people, with nothing but this checkout: data, two victims, attacks, a defended
# model, evaluation, pictures, and a page with all of it.
#     bash runDemo.sh                          seed 0, into runs/demo
#     bash runDemo.sh 1                        another seed, into runs/demo-seed1
#     bash runDemo.sh --model SPEC             your model judged on the drawn people by reid-fast-v1, and its page
#     bash runDemo.sh --model SPEC --defend    your model defended with drawn people, judged on others before and
#                                              after, and a page of both
# SPEC is what evaluate.py --resume takes: docs/bring-your-model.md. A seed may follow it, and --preprocessing NAME, how
# the model reads images, where it does not say so and the drawn people leave it open.
# Steps that are done are not done again; a killed demo goes on where it was. Networks run in fp32 on every machine.
set -euo pipefail
# How --defend trains, twice: on clean and perturbed images, and from that model on, which becomes the anchor, on
# perturbed ones alone. All of it is said by: python metaDefense.py --help
DEFENSE=(--defense anchored --anchor 0.5 --pgd-steps 3 --least-share 1 --ids 160 --batch_size 16 --lr 1e-3 --ema 0.98
  --iters-per-epoch 25 --eval-every 25)
FIRST=(--attacker online-delta pgd pgd --jitter 1 --num-instances 4 --epochs 16)
SECOND=(--attacker pgd --jitter 0.3 --num-instances 2 --epochs 8 --only-perturbed 8 --start-share 0.25)

wrong() { echo "error: $1; run: bash runDemo.sh [--model SPEC [--preprocessing NAME] [--defend]] [SEED]" >&2; exit 2; }

MODEL=
READING=
DEFEND=
SEED=
while [ $# -gt 0 ]; do
  case $1 in
    --help) sed -n '2,/^set/s/^# //p' "$0"; exit ;;
    --model) case ${2:-} in '' | -*) wrong "--model wants a model" ;; esac; MODEL=$2; shift ;;
    --preprocessing) case ${2:-} in '' | -*) wrong "--preprocessing wants a name" ;; esac; READING=$2; shift ;;
    --defend) DEFEND=yes ;;
    --*) wrong "no option is called $1" ;;
    *) [ -z "$SEED" ] || wrong "'$1' is one argument too many"; SEED=$1 ;;
  esac
  shift
done
SEED=${SEED:-0}
case $SEED in *[!0-9]*) wrong "the seed '$SEED' is not a whole number" ;; esac
[ -z "$DEFEND" ] || [ "$READING" != auto ] || wrong "--defend tries by itself where a model does not say; leave auto out"
[ -z "$DEFEND$READING" ] || [ -n "$MODEL" ] || wrong "--defend and --preprocessing want a model: --model SPEC"
REQUIREMENTS=requirements.txt
case $MODEL in *.onnx | *.xml | timm:* | zoo:*) REQUIREMENTS=requirements-extras.txt ;; esac
# Files are where the user is, also those within timm:NAME:FILE or FILE.json@384x128.
[ ! -e "$MODEL" ] || MODEL=$(realpath "$MODEL")
FILE=${MODEL##*:}
case $MODEL in *:*:* | torchscript:* | exported:*) [ ! -e "$FILE" ] || MODEL=${MODEL%:*}:$(realpath "$FILE") ;; esac
FILE=${READING%%.json*}.json
case $READING in *.json*) [ ! -e "$FILE" ] || READING=$(realpath "$FILE")${READING#"$FILE"} ;; esac
cd "$(dirname "$0")"
source environment.sh $REQUIREMENTS

OUT=runs/demo
[ "$SEED" = 0 ] || OUT=runs/demo-seed$SEED
DATA=$OUT/data
NAME=$(basename "$MODEL" | tr -c 'A-Za-z0-9.\n' _)
CORES=$(nproc 2>/dev/null || sysctl -n hw.ncpu)

LANES=
finish() {
  for LANE in $LANES; do kill -- "-$LANE" 2>/dev/null || true; done
  [ -n "$MODEL" ] || [ -e $OUT/summary.json ] || echo $SECONDS > $OUT/seconds
}

# Small networks gain little from a second thread, so two lanes share the cores.
two_lanes() {  # two_lanes FOLDER ONE OTHER: the functions ONE_lane and OTHER_lane
  local LANE CODE FOLDER=$1
  mkdir -p "$1"
  rm -f "$1/failed"
  echo "two lanes at once; what they print goes to $1/$2.log and $1/$3.log"
  trap finish EXIT
  trap 'exit 130' INT TERM
  set -m
  for LANE in $2 $3; do
    (
      set -euo pipefail
      trap '[ $? = 0 ] || touch "$FOLDER/failed"' EXIT
      OMP_NUM_THREADS=$(( (CORES + 1) / 2 )) ${LANE}_lane
    ) 3>&1 >> "$1/$LANE.log" 2>&1 < /dev/null &
    LANES="$LANES $!"
  done
  set +m
  for LANE in $LANES; do
    wait "$LANE" || { CODE=$?; tail -n 3 "$1/$2.log" "$1/$3.log" >&2 || true; exit $CODE; }
  done
  LANES=
}

await() {  # await FILE: which the other lane makes, unless it failed
  until [ -e "$1" ]; do
    [ ! -e $OUT/failed ] || exit 1
    sleep 1
  done
}

judge_model() {  # judge_model SPEC DATASET RESULTS OPTIONS...: the last of its shell
  exec "$PYTHON" evaluate.py -d "$2" --data $DATA --resume "$1" --seed "$SEED" --suite reid-fast-v1 --results "$3" --reuse "${@:4}"
}

# Without a GPU two processes share each step of a training: that is faster than two threads, with the same result.
in_two() (  # in_two COMMAND...
  local PORT=
  [ "$CORES" = 1 ] || PORT=$("$PYTHON" -c "import socket, torch
if not torch.cuda.is_available(): print(socket.create_server(('127.0.0.1', 0)).getsockname()[1])")
  if [ -n "$PORT" ]; then
    export WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$PORT OMP_NUM_THREADS=$(( (CORES + 1) / 2 ))
    set -m
    RANK=1 LOCAL_RANK=1 "$@" &
    set +m
    trap 'sleep 1; kill -- -$! 2>/dev/null || true' EXIT  # it may have a last line to say
    export RANK=0 LOCAL_RANK=0
  fi
  "$@"
  [ -z "$PORT" ] || wait $!
)

train_defended() {  # train_defended FOLDER OPTIONS...: from SPEC; then FILE is the model that is left, and SPEC names it
  in_two "$PYTHON" metaDefense.py -s synth-wide -m synth-virtual --data $DATA --resume "$SPEC" "${DEFENSE[@]}" "${@:2}" \
    --seed "$SEED" --precision fp32 --logs_dir "$1" --resume-from auto
  for FILE in "$1"/model_best.{onnx,pth}; do [ ! -e "$FILE" ] || break; done
  [ ! -e "$FILE.json" ] || LEFT_AS=$FILE.json  # how it reads images
  SPEC=$FILE
  case $MODEL in zoo:*) ;; *:*) [ -e "$MODEL" ] || SPEC=$(cut -d: -f1,2 <<< "$MODEL"):$FILE ;; esac
}

defend() {  # trains first, since what cannot be defended is refused there
  local PLACE=$OUT-defended/$NAME FILE SPEC=$MODEL LEFT_AS=
  DATA=$PLACE/data  # drawn at the size of this model
  [ -e $PLACE/first ] || [ ! -e $PLACE/defended/state.pth ] || fail "$PLACE is of an earlier version; remove it"
  train_defended $PLACE/first "${FIRST[@]}" ${READING:+--preprocessing "$READING"}
  train_defended $PLACE/defended "${SECOND[@]}" --preprocessing "${LEFT_AS:=own}"
  "$PYTHON" -m reid.synthperson synth-b --root $DATA --seed "$SEED" --for "$MODEL"
  READING=${READING:-$LEFT_AS}  # as training has found out
  before_lane() { judge_model "$MODEL" synth-b $PLACE/before --preprocessing "$READING"; }
  after_lane() { judge_model "$SPEC" synth-b $PLACE/after --preprocessing "$LEFT_AS"; }
  two_lanes $PLACE before after
  "$PYTHON" -m reid.report.card $PLACE/defended --before $PLACE/before --after $PLACE/after
  "$PYTHON" -m reid.report $PLACE/before $PLACE/after -o $PLACE/report.html --title "$NAME, before and after its defence"
  printf '%s\n' "the defended model: $FILE" "what was done and measured: $PLACE/defended/card.md" "both on one page: $PLACE/report.html"
}

if [ -n "$DEFEND" ]; then
  defend
  exit
fi
if [ -n "$MODEL" ]; then
  "$PYTHON" -m reid.synthperson synth-a --root $DATA --seed "$SEED"
  judge_model "$MODEL" synth-a "$OUT-models/$NAME" ${READING:+--preprocessing "$READING"}
fi
SIZE="--height 80 --width 40"
BATCHES="--batch_size 32 --num-instances 4"
COMMON="--data $DATA $SIZE --seed $SEED --precision fp32"
TYPE0=$OUT/attack/0/best_perturbation3.pth
# The time of a demo that was killed and went on is the sum of its parts; a finished one keeps its time.
SECONDS=$(cat $OUT/seconds 2>/dev/null || echo 0)
step() { printf '[%3d s] %s\n' "$SECONDS" "$1"; }

draw() {  # draw DATASET
  "$PYTHON" -m reid.synthperson "$1" --root $DATA --seed "$SEED"
}

train() {  # train VICTIM DATASET ARCH EPOCHS
  "$PYTHON" trainReid.py -d "$2" -a "$3" $COMMON --epochs "$4" --iters-per-epoch 25 --lr 2e-3 --eval-every 1 \
    --logs_dir "$OUT/$1" --resume-from auto
}

attack() {  # attack TYPE
  "$PYTHON" metaAttack.py -s synth-a -m synth-virtual --resume $OUT/A/model_best.pth --noise_type "$1" $COMMON \
    $BATCHES --epochs 4 --iters-per-epoch 12 --noise_resume "$OUT/attack/$1" --resume-from auto
}

evaluate() {  # evaluate VICTIM DATASET OPTIONS...
  "$PYTHON" evaluate.py -d "$2" --resume "$OUT/$1/model_best.pth" $COMMON $BATCHES \
    --results "$OUT/results/$1" --reuse "${@:3}"
}

judge() {  # judge VICTIM
  evaluate "$1" synth-a --attack $TYPE0 --suite given --image-attack pgd
  evaluate "$1" synth-a --attack $TYPE0 --suite reid-smoke-v1
}

curve() {  # curve NAME=CHECKPOINT=RESULTS...
  "$PYTHON" -m studies.curve -d synth-a --data $DATA --steps 5 --eps 0 2 4 8 --out $OUT/curve.png --reuse \
    --model "$@"
}

first_lane() {
  step "drawing people: synth-a, then synth-virtual (rendered)" >&3
  draw synth-a
  draw synth-virtual > $OUT/draw.log 2>&1 &
  step "training victim A (resnet10 on synth-a)" >&3
  train A synth-a resnet10 7
  wait $! || { echo "error: drawing synth-virtual failed:"; tail -n 2 $OUT/draw.log; exit 1; }
  touch $OUT/A/trained
  step "training D: A, fine-tuned to withstand attacks: on both sets, against an online delta, and PGD on the ranking" >&3
  "$PYTHON" metaDefense.py -s synth-a -m synth-virtual --resume $OUT/A/model_best.pth $COMMON $BATCHES \
    --defense gallery --attacker online-delta pgd pgd --pgd-steps 3 --least-share 1 --lr 1e-3 --ema 0.98 \
    --epochs 12 --iters-per-epoch 25 --eval-every 12 --logs_dir $OUT/D --resume-from auto
  await $TYPE0
  step "judging D: attacks that know it" >&3
  OMP_NUM_THREADS=$CORES judge D  # the second lane is about to end
}

second_lane() {
  step "drawing people: synth-b (another place and season)" >&3
  draw synth-b
  step "training victim B (resnet18 on synth-b)" >&3
  train B synth-b resnet18 5
  await $OUT/A/trained
  for TYPE in 0 1 2; do
    step "learning the universal perturbation of type $TYPE against A, meta-tested on synth-virtual" >&3
    attack $TYPE
  done
  step "evaluating A, and the transfer to B" >&3
  evaluate A synth-a --attack $OUT/attack/{0,1,2}/best_perturbation3.pth
  evaluate B synth-b --attack $OUT/attack/{0,1,2}/best_perturbation3.pth
  evaluate B synth-b --suite reid-smoke-v1
  step "judging A: attacks that know it" >&3
  judge A
  "$PYTHON" -m reid.report.picture -d synth-a --resume $OUT/A/model_best.pth --attack $TYPE0 --data $DATA --out $OUT/attack.png
  curve undefended=$OUT/A/model_best.pth=$OUT/results/A
}

two_lanes $OUT first second
step "drawing the pictures, writing the summary and the page"
curve undefended=$OUT/A/model_best.pth=$OUT/results/A defended=$OUT/D/model_best.pth=$OUT/results/D
[ -e $OUT/summary.json ] || echo $SECONDS > $OUT/seconds
"$PYTHON" -m reid.report $OUT/results -o $OUT/report.html --title "The demo: undefended A and B, defended D"
"$PYTHON" -m studies.demo $OUT --seed "$SEED" --seconds "$(cat $OUT/seconds)"
