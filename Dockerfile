# The image: one static program, the commands of mode moderate, no shell, no package manager, nobody's root.
#
#     docker compose build                       builds everything from source, in the first stage
#     container/build && CLAWDBOT_BUILT=prebuilt docker compose build     builds here; needs no registry
#
# Which of the two is the argument BUILT; the stage that is not asked for is not looked at.
ARG BUILT=source
# A tag can be moved. Whoever builds for others pins it, in `.env` as CLAWDBOT_RUST, to what this prints:
#     docker buildx imagetools inspect docker.io/library/rust:1.95-bookworm --format '{{.Name}}@{{.Manifest.Digest}}'
# It is not pinned here: a digest that nobody looked up at the registry would be made up, and one that is never
# renewed keeps Debian's mended holes out. What is in the image either way is told by its list of packages.
ARG RUST=docker.io/library/rust:1.95-bookworm

FROM ${RUST} AS source
WORKDIR /src
COPY . .
# The toolchain that is there, without the linters that rust-toolchain.toml asks for.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN CARGO_TARGET_DIR=/tmp/target container/build /rootfs

FROM scratch AS prebuilt
COPY container/rootfs /rootfs

FROM ${BUILT} AS built

FROM scratch
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="Clawdbot" \
      org.opencontainers.image.description="A self-hosted AI-assistant gateway, secure by default" \
      org.opencontainers.image.source="https://github.com/clawdbot/clawdbot" \
      org.opencontainers.image.documentation="https://github.com/clawdbot/clawdbot/blob/main/docs/user/containers.md" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=built /rootfs/root/ /
# The home, for who keeps it in a volume of the engine: a new one takes the owner of the folder that it covers.
COPY --from=built --chown=1000:1000 /rootfs/user/ /
ENV PATH=/usr/bin CLAWDBOT_HOME=/data
USER 1000:1000
VOLUME ["/data"]
EXPOSE 18789
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/bin/clawdbot", "health"]
ENTRYPOINT ["/usr/bin/clawdbot"]
CMD ["gateway"]
