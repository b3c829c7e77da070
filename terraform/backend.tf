# The state is in a bucket, so several people can deploy. Its versions let you restore an older state. scripts/deploy
# creates the bucket and passes its name:
#
#   terraform init -backend-config=bucket=PROJECT-functions-state -backend-config=prefix=PROJECT/main
terraform {
  backend "gcs" {}
}
