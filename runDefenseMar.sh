#!/usr/bin/env bash
# The paper's defence of a Market-1501 model against noise types 0 (colour + delta), 1 (colour), 2 (delta), and what it
# is worth: mAP under the frozen attacker, under attackers learnt on the defended model, under PGD on each image.
# Needs data/{market1501,personx} (docs/datasets.md), the checkpoint below (docs/checkpoints.md), and the attackers of
# runAttackMar.sh: for each type the last epoch, unless NOISE_FILE names another file (best_perturbation4.pth).
# Every setting can be given from outside:
#     DEFENSE=mixed ATTACKER="frozen online pgd" BATCH_SIZE=32 DEFENSE_EPOCHS=40 bash runDefenseMar.sh
set -euo pipefail
cd "$(dirname "$0")"

: "${DATA_DIR:=./data}"
: "${SOURCE_DATASET:=market1501}"
: "${SOURCE_NET_DIR:=./pretrained_models/market.pth}"
: "${ARCH:=resMeta}"
: "${MAX_EPS:=8/255}"
: "${BATCH_SIZE:=64}"
: "${VIRTUAL_DATASETS:=personx}"
: "${DEFENSE_EPOCHS:=85}"
: "${DEFENSE:=meta}"
: "${ATTACKER:=frozen}"
: "${NOISE_MODEL_PATH:=./attackModel/marketIDE/TripletMeta}"
: "${REID_MODEL_SAVE_DIR:=./defenseModel/market}"
[ -z "${EPOCHS:-}" ] || { echo "error: EPOCHS is not read here; set DEFENSE_EPOCHS instead" >&2; exit 2; }
read -ra ATTACKERS <<< "$ATTACKER"
NOISES=()
for NOISE_TYPE in 0 1 2; do
  NOISES+=("$(printf '%s\n' "$NOISE_MODEL_PATH/$NOISE_TYPE"/${NOISE_FILE:-best_perturbation*.pth} | sort -V | tail -n 1)")
done
source environment.sh requirements.txt "$SOURCE_NET_DIR" "${NOISES[@]}" "$DATA_DIR"

for NOISE_TYPE in 0 1 2; do
  "$PYTHON" metaDefense.py \
    -s "$SOURCE_DATASET" \
    -m "$VIRTUAL_DATASETS" \
    --data "$DATA_DIR" \
    -a "$ARCH" \
    --resume "$SOURCE_NET_DIR" \
    --batch_size "$BATCH_SIZE" \
    --noise_type "$NOISE_TYPE" \
    --combine-trainval \
    --epochs "$DEFENSE_EPOCHS" \
    --max-eps "$MAX_EPS" \
    --defense "$DEFENSE" \
    --attacker "${ATTACKERS[@]}" \
    --noise_path1 "${NOISES[$NOISE_TYPE]}" \
    --logs_dir "$REID_MODEL_SAVE_DIR/$NOISE_TYPE" \
    --resume-from auto
  "$PYTHON" evaluate.py -d "$SOURCE_DATASET" --resume "$REID_MODEL_SAVE_DIR/$NOISE_TYPE/model_best.pth" \
    --data "$DATA_DIR" --attack "${NOISES[$NOISE_TYPE]}" --adaptive
done
