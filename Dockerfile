FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --locked --release && cp target/release/megastats /

FROM debian:12.12-slim
# The authorities behind rediss:// and sslmode=verify-full, and the rules of stats.tzdb = "system".
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=10001 --group=10001 /var/lib/megastats
COPY --from=build /megastats /usr/local/bin/

USER 10001:10001
WORKDIR /var/lib/megastats
VOLUME /var/lib/megastats
# Listening to others, it does not start before MEGASTATS__AUTH__MODE is jwt, with a key, or
# MEGASTATS__AUTH__ALLOW_ANONYMOUS is true.
ENV MEGASTATS__SERVER__HOST=0.0.0.0 \
    MEGASTATS__SERVER__PORT=8000 \
    MEGASTATS__CORS__ALLOWED_ORIGINS= \
    MEGASTATS__DATABASE__URL=sqlite:///var/lib/megastats/megastats.db
EXPOSE 8000
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD \
    exec 3<>"/dev/tcp/127.0.0.1/$MEGASTATS__SERVER__PORT" \
    && printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3 \
    && read -r _ status _ <&3 && [[ $status == 200 ]]
ENTRYPOINT ["megastats"]
