# NOT RUN: ProcessOne's image (Alpine, musl) with Megaphone in it. What is done here was tried with Debian's ejabberd in
# debian.Dockerfile; these images could not be had where that was tried. In the project's root:
# podman build --file packaging/container/ejabberd.Dockerfile --tag ejabberd-megaphone .
ARG EJABBERD_IMAGE=ghcr.io/processone/ejabberd:latest
# Of an OTP that is not newer than ejabberd's: code of an older OTP runs on a newer one, and not the other way round.
ARG BUILD_IMAGE=docker.io/library/erlang:26-alpine

FROM ${BUILD_IMAGE} AS build
RUN apk add --no-cache build-base cargo rust
WORKDIR /source
COPY . .
# build.sh links the NIF dynamically, as musl's default would not.
RUN rebar3 compile \
    && mkdir /megaphone \
    && cp -rL _build/default/lib/megaphone/ebin _build/default/lib/megaphone/priv /megaphone/

FROM ${EJABBERD_IMAGE}
# ejabberdctl puts each application of this folder into the code path.
COPY --from=build /megaphone /tmp/megaphone
USER root
RUN mv /tmp/megaphone "$(echo /opt/ejabberd-*/lib)/megaphone" && apk add --no-cache libgcc
USER ejabberd
# Its configuration is in a volume, /opt/ejabberd: mount packaging/container/ejabberd.yml as conf/ejabberd.yml.
EXPOSE 5290
