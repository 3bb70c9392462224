# Debian's ejabberd with Megaphone in it. In the project's root:
# podman build --file packaging/container/debian.Dockerfile --tag ejabberd-megaphone .
# Tried by packaging/container/try.sh, with a Debian 12 made by debootstrap in place of both images.
ARG BUILD_IMAGE=docker.io/library/rust:1-bookworm
ARG RUN_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ejabberd erlang-dev rebar3
WORKDIR /source
COPY . .
RUN rebar3 compile \
    && mkdir /megaphone \
    && cp -rL _build/default/lib/megaphone/ebin _build/default/lib/megaphone/priv /megaphone/

FROM ${RUN_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ejabberd tini \
    && rm -rf /var/lib/apt/lists/*
# ejabberdctl puts each application of this folder into the code path.
COPY --from=build /megaphone /tmp/megaphone
RUN mv /tmp/megaphone "/usr/lib/$(uname -m)-linux-gnu/megaphone" \
    && install --directory --owner ejabberd --group ejabberd /run/ejabberd
COPY --chown=ejabberd:ejabberd packaging/container/ejabberd.yml /etc/ejabberd/ejabberd.yml
USER ejabberd
EXPOSE 5290
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/usr/sbin/ejabberdctl", "status"]
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/sbin/ejabberdctl"]
CMD ["foreground"]
