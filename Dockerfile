# One image for every service: Cloud Run starts it as `functions serve <service>`.

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-slim-bookworm AS rust
WORKDIR /build

# The workspace without its code: manifests, the lock file, and an empty root for each target. Docker
# compares what this stage leaves behind, so the dependencies below are built again only when a
# manifest or the lock file changes, and a new crate needs no line here.
FROM rust AS manifests
COPY . .
RUN find . -type f \
        ! -name Cargo.toml ! -name Cargo.lock ! -name build.rs ! -path './.cargo/*' \
        ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/src/bin/*.rs' \
        ! -path '*/benches/*.rs' ! -path '*/examples/*.rs' ! -path '*/tests/*.rs' \
        -delete \
    && find . -type d -empty -delete \
    && find . -name '*.rs' -exec sh -c 'for file; do case $file in */src/lib.rs) : >"$file" ;; *) echo "fn main() { }" >"$file" ;; esac; done' _ {} +

FROM rust AS build
COPY --from=manifests /build .
RUN cargo build --release --locked --package launcher --bin functions
COPY . .
# Cargo goes by time: files older than the empty ones above would count as built.
RUN find functions shared -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package launcher --bin functions

# A C library, the roots of TLS and a user who is not root: no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
# checkov:skip=CKV_DOCKER_2: Cloud Run does not read HEALTHCHECK; terraform/services.tf has the probes.
COPY --from=build /build/target/release/functions /functions
USER nonroot
EXPOSE 8080
ENTRYPOINT ["/functions"]
