#!/usr/bin/env bash
# Makes a cluster's secrets, once, in a folder that only you can read. What is there is kept.
#
#   secrets.sh [FOLDER]     else $NNRAY_SECRETS, else ~/.nnray/cluster
set -euo pipefail
umask 077

folder=${1:-${NNRAY_SECRETS:-$HOME/.nnray/cluster}}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

for name in ray_token mlflow_admin_password mlflow_secret_key postgres_password grafana_password; do
    test -s "$name" || random > "$name"
done

# As MLflow's client reads it from ~/.mlflow/credentials.
printf '[mlflow]\nmlflow_tracking_username = admin\nmlflow_tracking_password = %s\n' \
    "$(< mlflow_admin_password)" > mlflow_credentials
chmod 600 ./*
echo "the cluster's secrets are in $folder: keep a copy in a safe place"
