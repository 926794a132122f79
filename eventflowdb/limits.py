"""Every bound of the server, named in one place; units stand at the end of each name."""

KIB = 1024
MIB = 1024 * KIB

# An event, as given.
EVENT_TYPE_BYTES_MAX = 255
EVENT_TAGS_MAX = 32
TAG_BYTES_MAX = 128
STREAM_EVENTS_MAX = 2**32
"""A version takes 4 bytes in the index of a stream."""
INTEGER_MAX = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (IEEE 754 double)."""

# The conditions of an append.
REQUEST_ID_BYTES_MAX = 128
UNLESS_ITEMS_MAX = 1000
UNLESS_TYPES_MAX = 1000

# Reads.
GETALL_LIMIT_DEFAULT = 100
CHUNK_EVENTS_MAX = 1024
CHUNK_BYTES_MAX = 768 * KIB
"""A long reply is read and sent in chunks of so much; one event may be larger and is then a chunk alone.

Somewhat more than a thousand: many read pages of a thousand, and one event more where they begin with the last one that
they have, and that one must not cost a chunk of its own.
"""
INLINE_READ_EVENTS_MAX = 64
INLINE_READ_BYTES_MAX = 64 * KIB
"""Reads up to this size may run on the reactor thread: a thread switch would cost more than the read."""
INLINE_READ_SECONDS_MAX = 0.002
"""An inline read slower than this, that met page faults on the disk, sends reads to threads for a while."""
INLINE_READ_PAUSE_TIMES = 20
"""That is so many times as long as it took, or twice as long as before where so much time had not passed since."""
INLINE_READ_PAUSE_SECONDS_MAX = 1.0
ALONE_SECONDS_MIN = 0.1
"""A client whose requests were the only ones for so long is thought to be alone."""
INLINE_PAGE_STEPS = 3
"""A page that is read on the reactor's thread goes on in so many steps, as long as none had to come from the disk."""
READ_THREADS_MAX = 4
GROUP_READS = 8
"""So many replies to reads leave together, where so many clients or more read at once."""
READ_CACHE_ENDS_SHARE = 16
"""Of READ_CACHE_BYTES one part of so many is for replies to those who had read the beginning of a stream before."""
READ_CACHE_BYTES_ASKED = 4 * KIB
"""For each so many of READ_CACHE_BYTES it is known of one GET of first events, and of one more before it, that it was
asked: a reply is kept the second time."""
CONTENDED_STREAMS_MAX = 1024
"""Of so many streams it is remembered that appends collided on them."""
RETRY_SECONDS = 0.005
"""So long whoever was told of a collision has for the next try, before the next one who lost is told."""
REFUSAL_HOLD_SECONDS_MAX = 0.02
"""So long at most a collision is known before it is told."""

# Searches: reads with a filter, and lists of streams and types. A step asks an index for one id.
SEARCH_SLICE_STEPS_MAX = 1000
"""So many steps are taken in one transaction, in some milliseconds; then other reads have their turn."""
INLINE_SEARCH_STEPS_MAX = 256
"""So many may be taken on the reactor's thread."""
SEARCH_PAGE_STEPS_MAX = 10_000
"""With `"cursor": true` a reply ends after so many."""
SEARCH_IDS_KEPT_MAX = 10_000
"""Of the matches that were counted so many are kept for the reply; the others are found again."""
FILTERED_LIMIT_DEFAULT = 100
QUERY_TYPES_MAX = 1000
STREAMS_LIMIT_DEFAULT, STREAMS_LIMIT_MAX = 100, 1000
TYPES_LIMIT_DEFAULT, TYPES_LIMIT_MAX = 1000, 10_000
TYPES_SLICE_MAX = 250

# Waiting for events.
WAIT_MS_MAX = 60 * 60 * 1000
"""How long one GET or GETALL may wait."""
SHARED_LOOKS_MAX = 100
"""So many different reads that wait keep what they found after a commit, for others that ask the same."""
SHARED_TAILS_MAX = 100
"""From so many places the last events are kept decoded, for subscriptions with filters."""
SUBSCRIPTIONS_MAX = 1000
"""Of one connection."""
SUBSCRIPTION_QUERY_BYTES_MAX = 4 * KIB
"""The query is the channel's name, and every message repeats it."""
SHARED_PAGES_BYTES_MAX = 8 * MIB
"""Pages of events, and their messages, that are kept for other subscriptions at the same place."""
LAG_LOOKS_MAX = 100
"""Of subscriptions to single streams that are behind, INFO asks so many for their lag."""
NOTICES_TURN_MAX = 100
"""So many that wait are told of a commit in one turn of the reactor, at some 50 microseconds each."""

# Consumers.
CONSUMERS_MAX = 1000
CONSUMER_NAME_BYTES_MAX = 64
"""Of a consumer or a member."""
CONSUMER_QUERY_BYTES_MAX = 1000
"""So that what is stored of a consumer fits into a page."""
CONSUMER_TIMEOUT_MS_MAX = 24 * 60 * 60 * 1000
RETRY_MS_MAX = 24 * 60 * 60 * 1000
TRIES_MAX = 1_000_000
HOLDINGS_SHOWN_MAX = 100
"""So many members of a consumer are named, with what they hold."""
REASON_BYTES_MAX = 1024
FETCH_LIMIT_DEFAULT, FETCH_LIMIT_MAX = 100, 1000
ACK_IDS_MAX = 10_000
PARKED_LIMIT_DEFAULT, PARKED_LIMIT_MAX = 100, 1000
WINDOW_EVENTS_MAX = 10_000
WINDOW_BYTES_MAX = 16 * MIB
"""Of one consumer so many events, of such a size, are given out or about to be; beyond it nothing more is read."""
WINDOW_DONE_MAX = 100_000
"""So many events may be acked behind one that is not; then nothing is given out until that one is."""
FETCH_BYTES_MAX = 1 * MIB
"""A FETCH gives events until they are so large together; one may be larger and then comes alone."""
INLINE_FILLS_MAX = 8
"""So often a consumer reads from the log in one turn of the reactor."""
FILL_EVENTS = 256
"""So many events a consumer reads from the log at once."""
ADVANCE_STEPS_MAX = 10_000
"""So far a checkpoint moves in one commit."""
LAG_STEPS_INLINE_MAX = 100
"""The same in INFO."""
LAG_STEPS_MAX = 10_000
"""So far is counted what a consumer with a filter has before it."""

# Appends.
BATCH_BYTES_MAX = 32 * MIB
"""A write transaction takes appends until their arguments add up to so much."""
INLINE_COMMIT_BYTES_MAX = 64 * KIB
"""Batches up to this size may be committed on the reactor's thread."""
INLINE_COMMIT_APPENDS_MIN = 4
"""So many appends there must be for each other request: those it would keep waiting."""
INLINE_COMMIT_OTHERS_FEW = 4
"""So many others since the last batch may be kept waiting whatever the batch: they have not much to wait for."""
INLINE_COMMIT_OTHERS_SECONDS = 0.1
"""Where there are more others than that, they are thought to be about for so long."""
INLINE_COMMIT_SECONDS_MAX = 0.01
"""One that takes longer sends them to the commit thread for a while."""
INLINE_COMMIT_PAUSE_SECONDS = 1.0
STAGING_WAIT_SECONDS_MAX = 0.002
"""So long at most the reactor's thread stands back while a batch is staged."""
DEFERRED_BATCHES_MAX = 256
DEFERRED_BYTES_MAX = 1 * MIB
"""So much that is on disk may wait to be seen by reads, while nobody reads. The batch that reaches it is the last."""
DEFERRED_BYTES_OVER = 1 * MIB
"""A batch that goes beyond that by more than this is seen before it is answered, any other as soon as it is."""
DEFERRED_SECONDS_MAX = 0.01
"""So long it waits at most."""
EAGER_SECONDS = 0.1
"""After a read had to ask for what was not to be seen yet, everything is seen at once for so long."""
DEFERRED_RESERVE_BYTES = 4 * MIB
"""It waits only where the data file has so much room already, so that it does not fail for want of it. (Small events
all over a very large database may want more. A disk that is full just then stops the server; nothing is lost.)"""
FLUSH_BESIDE_BYTES_MIN = 64 * KIB
"""Where a batch changes so much, and the reactor's thread stands back, the disk has it while the changes are made; for
less, to have another thread flush costs more than it gains."""
FREE_SPACE_SECONDS = 0.01
"""So long it is remembered how much the disk has free,"""
FREE_SPACE_PLENTY_BYTES = 64 * MIB
"""where that is by so much more than must stay free. In that time others cannot write as much, and what batches take
besides what is counted is far less."""
CHECKPOINT_COMMITS_MAX = 1024
"""After so many commits of LMDB the data file is flushed: until then none of the pages they free is used again."""
CHECKPOINT_JOURNAL_BYTES_MAX = 8 * MIB
"""The same for so much of the journal: a start after a crash makes its changes again."""
CHECKPOINT_HURRY_BYTES = 2 * MIB
"""Where the journal grows by so much while the data file is written back little by little, the rest is flushed at once:
those who append so much want it to be over more than they mind a pause."""
JOURNAL_GROWTH_BYTES = 1 * MIB
"""A file of the journal is made longer by up to so much at once; a flush is dearest where a file grows."""
REPEATED_BYTES_MAX = 4 * MIB
"""At a start after a crash so much is made again in one transaction."""
CONNECTION_APPENDS_MAX = 1024
CONNECTION_APPEND_BYTES_MAX = 4 * MIB
"""Appends of one connection under way at once; a single larger one is still taken, alone."""
CONNECTION_REPLY_BYTES_MAX = 64 * KIB
"""Replies of one connection are gathered into one write up to so much; then it shows whether the client takes them."""
CONNECTION_UNTAKEN_BYTES_MAX = 32 * MIB
"""So much of replies may a client leave untaken and still be served: many send a whole pipeline before they read."""
OVERLOAD_SECONDS_MAX = 5.0
"""So long may requests wait for memory before the largest unfinished ones are answered TRYAGAIN."""
OVERLOAD_HELD_BYTES_MAX = 1 * KIB
"""A connection that holds more after that, of which nothing can be refused, is cut."""

# Requests. Redis's own bounds (networking.c) where it has them.
BULK_BYTES_MAX = 512 * MIB
ARGUMENTS_MAX = 1024 * 1024
ARGUMENTS_KEPT_MAX = 1024
"""No command needs more words; those after it are counted and dropped."""
LINE_BYTES_MAX = 64 * KIB
"""An inline command, or the header line of an array or a bulk string."""
UNAUTHENTICATED_ARGUMENTS_MAX = 10
UNAUTHENTICATED_BULK_BYTES_MAX = 16 * KIB
"""So many words of such a size, and one read of the socket, stay far under the 1 MiB that Redis lets be buffered."""

# Connections.
KEEPALIVE_SECONDS = 300
"""After so long without a byte TCP asks whether the other end is still there."""
IDLENESS_CHECK_SECONDS = 1.0
DRAIN_SECONDS_MAX = 1.0
"""After a protocol error: how long a client is read on, unheeded, so that it can see the error."""
SHUTDOWN_NOTICE_SECONDS = 0.1
"""How long requests are still read at SIGTERM, to be answered TRYAGAIN."""
SHUTDOWN_GRACE_SECONDS = 1.0
"""How long SIGTERM waits for clients to take what they are owed."""
WRITE_BUFFER_BYTES_MAX = 64 * KIB
"""What may wait to be sent before a connection counts as one that does not take its replies (Twisted's own bound)."""
LISTEN_BACKLOG = 1024
DESCRIPTORS_RESERVED = 64
"""Descriptors kept for files, threads and logs when MAX_CLIENTS is fitted to the limit of the process."""

# What is kept to be asked for.
SLOWLOG_SECONDS_MIN = 0.01
SLOWLOG_ENTRIES_MAX = 128

# Several processes.
WORKERS_MAX = 16
"""Each reads with up to five threads, and LMDB has 126 places for readers."""
LINK_ITEMS_BYTES_MAX = 1 * MIB
"""A frame of appends or of outcomes is closed when it has so much, so that the other end begins on it."""
ABANDONED_LOOK_SECONDS = 1.0
"""So often a front looks whether the client of a VERIFY is still there."""
ASK_SECONDS_MAX = 1.0
"""So long a process waits for the others' figures; one that does not answer is left out."""
ACCEPTS_TURN_MAX = 64
"""So many connections a front takes in one turn of its loop."""
ACCEPT_PAUSE_SECONDS = 0.002
"""So long a front with more connections than the others leaves new ones to them."""
RESTART_PAUSE_SECONDS_MIN = 0.1
RESTART_PAUSE_SECONDS_MAX = 5.0
"""A process that dies is started again after a pause, which doubles while it dies again and again."""
RESTART_CALM_SECONDS = 10.0
"""A process that has lived so long has not died in a row with the one before."""
CORE_STOP_SECONDS_MAX = 1.5
"""So long the core waits at the end for the fronts to let go."""
CHILDREN_STOP_SECONDS_MAX = 1.8
"""So long the supervisor waits at the end before it kills."""

REFUSED_LOGINS_LOG_SECONDS = 10
"""So long after a line in the log about a refused login there is no other."""
