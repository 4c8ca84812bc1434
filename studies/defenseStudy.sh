#!/usr/bin/env bash
# The study behind docs/defense-results.md: all defences on equal terms, judged by the suites.
#     bash studies/defenseStudy.sh [PART ...]       default: all parts in turn; ends with docs/defense-results.md
# PART is 0, 1 or 2, all rows of that seed, which may run side by side; then, of the rows that these choose on validation
# identities: more (seeds 3 and 4 of the best three), standard (reid-standard-v1 on the best two), curve (other weights of
# the clean anchor), osnet (the best three on OSNET=osnet_x0_25_msmt17.onnx, a model that others trained on real people).
# Each part takes hours on one core and goes on where it was killed. Needs the demo of each seed (bash runDemo.sh SEED).
# Models and results go to runs/defense-study; a record of each judgement goes to studies/defense-records, which is to be
# committed: what has a record is neither trained nor judged again. To do so, remove the record.
set -euo pipefail
cd "$(dirname "$0")/.."
REQUIREMENTS=requirements.txt
if [ -n "${OSNET:-}" ]; then REQUIREMENTS=requirements-extras.txt; fi
source environment.sh $REQUIREMENTS
export OMP_NUM_THREADS=1
STUDY=runs/defense-study
RECORDS=studies/defense-records
ROWS="undefended none adversarial mixed meta fare anchored trades gallery"
COMMON="--preprocessing own --batch_size 32 --num-instances 4 --precision fp32"
ATTACKERS="--attacker online-delta pgd pgd --pgd-steps 3 --least-share 1"
STEPS="--lr 1e-3 --epochs 12 --iters-per-epoch 25 --eval-every 12 --ema 0.98"

demo() {  # demo SEED: the rows of now start from the A of this seed
  local folder=runs/demo
  [ "$1" = 0 ] || folder=runs/demo-seed$1
  SUBJECT=seed$1 START=$folder/A/model_best.pth REMEDY="run bash runDemo.sh $1 first"
  SHARED="--data $folder/data --height 80 --width 40 --seed $1 $COMMON"
}

osnet() {  # the rows of now start from the model of others, on people that are drawn at its size
  [ -n "${OSNET:-}" ] || fail "part osnet needs the model: OSNET=osnet_x0_25_msmt17.onnx bash studies/defenseStudy.sh osnet"
  SUBJECT=osnet START=$OSNET REMEDY="OSNET is to be the file of the model"
  SHARED="--data $STUDY/osnet-data --seed 0 $COMMON"
}

trained() {  # trained ROW: the options that a row is trained with
  case $1 in
    undefended) ;;
    none) echo "--defense none $STEPS" ;;
    *-anchor-*) echo "--defense ${1%%-*} --anchor ${1##*-} $ATTACKERS $STEPS" ;;
    *) echo "--defense $1 $ATTACKERS $STEPS" ;;
  esac
}

train() {  # train ROW: MODEL is the row's model, trained where it is not there yet
  local folder=$STUDY/$SUBJECT/$1/model name
  [ -e "$START" ] || fail "no $START; $REMEDY"
  for name in synth-a synth-virtual; do
    [ $SUBJECT != osnet ] || "$PYTHON" -m reid.synthperson $name --root $STUDY/osnet-data --height 256 --width 128 >&2
  done
  MODEL=$START
  [ "$1" != undefended ] || return 0
  MODEL=$folder/model_best.${START##*.}
  "$PYTHON" metaDefense.py -s synth-a -m synth-virtual $SHARED \
    --resume "$START" $(trained "$1") --logs_dir "$folder" --resume-from auto >&2
}

judge() {  # judge ROW NAME...: validation, test or standard
  local name record results suite identities
  MODEL=
  for name in "${@:2}"; do
    record=$RECORDS/$SUBJECT/$1/$name.json results=$STUDY/$SUBJECT/$1/$name suite=reid-fast-v1 identities=test
    [ ! -e "$record" ] || continue
    [ $name != standard ] || suite=reid-standard-v1
    [ $name != validation ] || identities=validation
    printf '[%s] %s\n' "$(date +%H:%M)" "$SUBJECT $1 $name" >&2
    [ -n "$MODEL" ] || train "$1"
    "$PYTHON" evaluate.py -d synth-a $SHARED --resume "$MODEL" --suite $suite --identities $identities \
      --results "$results" --reuse >&2
    "$PYTHON" -m studies.record "$results" --start "$START" --trained "$(trained "$1")" --out "$record" >&2
  done
}

best() { "$PYTHON" -m studies.defense $RECORDS --best "$@"; }

[ $# -gt 0 ] || set -- 0 1 2 more standard curve ${OSNET:+osnet}
for PART in "$@"; do
  case $PART in
    0 | 1 | 2)
      demo "$PART"
      for ROW in $ROWS; do judge $ROW validation test; done ;;
    more)
      CHOSEN=$(best 3)
      for SEED in 3 4; do
        demo $SEED
        for ROW in undefended $CHOSEN; do judge $ROW test; done
      done ;;
    standard)
      CHOSEN=$(best 2)
      demo 0
      for ROW in $CHOSEN; do judge $ROW standard; done ;;
    curve)
      CHOSEN=$(best 1 --among fare anchored)
      demo 0
      for WEIGHT in 0.25 4; do judge "$CHOSEN-anchor-$WEIGHT" test; done ;;
    osnet)
      CHOSEN=$(best 3)
      osnet
      for ROW in undefended $CHOSEN; do judge $ROW test; done ;;
    *) fail "no part is called '$PART'; they are 0, 1, 2, more, standard, curve and osnet" ;;
  esac
done
mkdir -p $STUDY
"$PYTHON" -m studies.defense $RECORDS > $STUDY/page.$$
mv $STUDY/page.$$ docs/defense-results.md
