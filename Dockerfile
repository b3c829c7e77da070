# One image for all services. Cloud Run starts it as `functions serve <service>`.

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-slim-bookworm AS rust
WORKDIR /build

# The workspace without its code: the manifests, the lock file, and an empty root file for each target.
# Docker compares the files of this stage, so the build stage rebuilds the dependencies only when a
# manifest or the lock file changes. A new crate needs no line here.
FROM rust AS manifests
COPY . .
RUN find . -type f \
        ! -name Cargo.toml ! -name Cargo.lock ! -name build.rs ! -path './.cargo/*' \
        ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/src/bin/*.rs' \
        ! -path '*/benches/*.rs' ! -path '*/examples/*.rs' ! -path '*/tests/*.rs' \
        -delete \
    && find . -type d -empty -delete \
    && find . -name '*.rs' -exec sh -c 'for file; do case $file in */src/lib.rs) : >"$file" ;; *) echo "fn main() { }" >"$file" ;; esac; done' _ {} +

# scripts/deploy keeps this stage in the registry, as the cache of the next build.
FROM rust AS dependencies
COPY --from=manifests /build .
RUN cargo build --release --locked --package launcher --bin functions

FROM dependencies AS build
COPY . .
# Cargo compares times. It would take a file for built if it were older than the empty one above.
RUN find functions shared -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package launcher --bin functions

# This base has a C library, root certificates and a user who is not root, but no shell and no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
# checkov:skip=CKV_DOCKER_2: Cloud Run ignores HEALTHCHECK; terraform/services.tf declares the probes.
COPY --from=build /build/target/release/functions /functions
USER nonroot
EXPOSE 8080
ENTRYPOINT ["/functions"]
