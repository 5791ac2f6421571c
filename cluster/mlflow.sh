#!/usr/bin/env bash
# MLflow's tracking server behind basic authentication. Everything is said by the environment:
#
#   NNRAY_SECRETS            folder of mlflow_admin_password and mlflow_secret_key (default /run/secrets);
#                            postgres_password there is used for a database without one in its URI
#   MLFLOW_BACKEND_STORE_URI    database of runs; default SQLite in $MLFLOW_FOLDER. PostgreSQL's begins with
#                               postgresql+psycopg2://: the driver that the image has
#   MLFLOW_ARTIFACTS            where models and files go: a folder or s3://...; default in $MLFLOW_FOLDER
#   MLFLOW_FOLDER               default ~/mlflow
#   MLFLOW_HOST, MLFLOW_PORT, MLFLOW_WORKERS   default 127.0.0.1, 5000, 1
#   MLFLOW_SERVER_ALLOWED_HOSTS the names by which it is called, beside localhost and private addresses
set -euo pipefail
umask 077

secrets=${NNRAY_SECRETS:-/run/secrets}
folder=${MLFLOW_FOLDER:-$HOME/mlflow}
mkdir -p "$folder"

secret() {
    test -s "$secrets/$1" || { echo "mlflow.sh: $secrets/$1 is missing or empty: run cluster/secrets.sh" >&2; exit 2; }
    cat "$secrets/$1"
}

# Assigned first, exported after: export hides a failure.
MLFLOW_AUTH_ADMIN_PASSWORD=$(secret mlflow_admin_password)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret mlflow_secret_key)
export MLFLOW_AUTH_ADMIN_USERNAME=admin MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY

export MLFLOW_BACKEND_STORE_URI=${MLFLOW_BACKEND_STORE_URI:-sqlite:///$folder/mlflow.db}
case $MLFLOW_BACKEND_STORE_URI in
    # libpq takes the password from the environment, so that it stands in no process's arguments.
    postgresql*)
        users=$MLFLOW_BACKEND_STORE_URI
        if test -s "$secrets/postgres_password"; then
            PGPASSWORD=$(secret postgres_password)
            export PGPASSWORD
        fi ;;
    *) users=sqlite:///$folder/users.db ;;
esac

# Who may log in is in a file of the server's own; who is not given more may read.
export MLFLOW_AUTH_CONFIG_PATH=$folder/auth.ini
cat > "$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $users
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
INI

# Its job runner would be eight processes more, which nnray has no use for; pickled models run code.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false

exec mlflow server --app-name basic-auth \
    --host "${MLFLOW_HOST:-127.0.0.1}" --port "${MLFLOW_PORT:-5000}" --workers "${MLFLOW_WORKERS:-1}" \
    --artifacts-destination "${MLFLOW_ARTIFACTS:-$folder/artifacts}"
