# EventflowDB: the server on its own, as an unprivileged user, with its database in the volume /data.

FROM python:3.13-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/eventflowdb
COPY . /src
# What compiles the hot path is fetched for the build alone, and stays out of the image.
RUN EVENTFLOWDB_COMPILE=1 /opt/eventflowdb/bin/pip install --no-cache-dir --disable-pip-version-check /src

FROM python:3.13-slim
# The number is fixed, so that files in a volume keep their owner from image to image.
RUN groupadd --system --gid 6543 eventflowdb \
    && useradd --system --uid 6543 --gid 6543 --home-dir /data --no-create-home --shell /usr/sbin/nologin eventflowdb \
    && install --directory --mode=0700 --owner=eventflowdb --group=eventflowdb /data
COPY --from=build /opt/eventflowdb /opt/eventflowdb
ENV PATH=/opt/eventflowdb/bin:$PATH
# twistd keeps a cache of its plugins beside them, where the unprivileged user cannot write.
RUN ["python", "-c", "from twisted.application.service import IServiceMaker; from twisted.plugin import getPlugins; assert 'eventflowdb' in [plugin.tapname for plugin in getPlugins(IServiceMaker)]"]
ENV INTERFACE=0.0.0.0 DATA=/data
USER 6543:6543
VOLUME /data
EXPOSE 6543
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "eventflowdb.healthcheck"]
CMD ["twistd", "--nodaemon", "--pidfile=", "eventflowdb"]
