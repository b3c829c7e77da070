# scripts/github passes the bucket and the path, which differs from the paths of the copies.
terraform {
  backend "gcs" {}
}
