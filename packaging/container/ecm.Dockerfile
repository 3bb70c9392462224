# The image of megaphone-ecm. In the project's root: podman build --file packaging/container/ecm.Dockerfile --tag megaphone-ecm .
# Tried by packaging/container/try.sh with a Debian 12 made by debootstrap in place of both images. The two named here
# could not be had where it was tried.
ARG BUILD_IMAGE=docker.io/library/rust:1-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY native native
RUN cargo build --release --locked --package megaphone-ecm \
    && install -D --strip target/release/megaphone-ecm /root-of-image/usr/bin/megaphone-ecm
COPY packaging/container/ecm.toml /root-of-image/etc/megaphone/ecm.toml

FROM ${RUN_IMAGE}
COPY --from=build /root-of-image /
# The user "nonroot" of distroless. The socket of `megaphone-ecm ctl` is in /tmp: no other folder there is for everyone.
USER 65532:65532
EXPOSE 5222 5280 9290
# Whether the program answers. That an ejabberd is gone is no reason to start it again.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/bin/megaphone-ecm", "ctl", "nodes"]
ENTRYPOINT ["/usr/bin/megaphone-ecm"]
CMD ["--config", "/etc/megaphone/ecm.toml"]
