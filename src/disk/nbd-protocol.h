/* nbd-protocol.h - NBD as it is on the wire, and what the files of the server share.
 *
 * Names and numbers are those of doc/proto.md of the NetworkBlockDevice project; all numbers are
 * big-endian.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/nbd-server.h"

#include <sys/uio.h>

/* --- the protocol ----------------------------------------------------------------------------- */

#define NBD_MAGIC G_GUINT64_CONSTANT (0x4e42444d41474943)        /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC G_GUINT64_CONSTANT (0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC G_GUINT64_CONSTANT (0x0003e889045565a9)
#define NBD_REQUEST_MAGIC 0x25609513
#define NBD_SIMPLE_REPLY_MAGIC 0x67446698
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33ef

#define NBD_STRING_MAX 4096
#define NBD_BASE_ALLOCATION "base:allocation"

enum /* handshake and client flags */
{
  NBD_FLAG_FIXED_NEWSTYLE = 1 << 0,
  NBD_FLAG_NO_ZEROES = 1 << 1,
};

enum /* transmission flags */
{
  NBD_FLAG_HAS_FLAGS = 1 << 0,
  NBD_FLAG_READ_ONLY = 1 << 1,
  NBD_FLAG_SEND_FLUSH = 1 << 2,
  NBD_FLAG_SEND_FUA = 1 << 3,
  NBD_FLAG_SEND_TRIM = 1 << 5,
  NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
  NBD_FLAG_SEND_DF = 1 << 7,
  NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
  NBD_FLAG_SEND_CACHE = 1 << 10,
  NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
};

enum /* options */
{
  NBD_OPT_EXPORT_NAME = 1,
  NBD_OPT_ABORT = 2,
  NBD_OPT_LIST = 3,
  NBD_OPT_STARTTLS = 5,
  NBD_OPT_INFO = 6,
  NBD_OPT_GO = 7,
  NBD_OPT_STRUCTURED_REPLY = 8,
  NBD_OPT_LIST_META_CONTEXT = 9,
  NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ACK 1
#define NBD_REP_SERVER 2
#define NBD_REP_INFO 3
#define NBD_REP_META_CONTEXT 4
#define NBD_REP_ERR_UNSUP 0x80000001
#define NBD_REP_ERR_POLICY 0x80000002
#define NBD_REP_ERR_INVALID 0x80000003
#define NBD_REP_ERR_UNKNOWN 0x80000006
#define NBD_REP_ERR_SHUTDOWN 0x80000007
#define NBD_REP_ERR_TOO_BIG 0x80000009

enum /* kinds of information about an export */
{
  NBD_INFO_EXPORT = 0,
  NBD_INFO_NAME = 1,
  NBD_INFO_DESCRIPTION = 2,
  NBD_INFO_BLOCK_SIZE = 3,
};

enum /* commands */
{
  NBD_CMD_READ = 0,
  NBD_CMD_WRITE = 1,
  NBD_CMD_DISC = 2,
  NBD_CMD_FLUSH = 3,
  NBD_CMD_TRIM = 4,
  NBD_CMD_CACHE = 5,
  NBD_CMD_WRITE_ZEROES = 6,
  NBD_CMD_BLOCK_STATUS = 7,
};

enum /* command flags */
{
  NBD_CMD_FLAG_FUA = 1 << 0,
  NBD_CMD_FLAG_NO_HOLE = 1 << 1,
  NBD_CMD_FLAG_DF = 1 << 2,
  NBD_CMD_FLAG_REQ_ONE = 1 << 3,
  NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
};

#define NBD_REPLY_FLAG_DONE 1

enum /* chunks of structured replies */
{
  NBD_REPLY_TYPE_NONE = 0,
  NBD_REPLY_TYPE_OFFSET_DATA = 1,
  NBD_REPLY_TYPE_OFFSET_HOLE = 2,
  NBD_REPLY_TYPE_BLOCK_STATUS = 5,
  NBD_REPLY_TYPE_ERROR = 0x8001,
  NBD_REPLY_TYPE_ERROR_OFFSET = 0x8002,
};

enum /* of base:allocation */
{
  NBD_STATE_HOLE = 1 << 0,
  NBD_STATE_ZERO = 1 << 1,
};

typedef enum
{
  NBD_SUCCESS = 0,
  NBD_EPERM = 1,
  NBD_EIO = 5,
  NBD_EINVAL = 22,
  NBD_ENOSPC = 28,
  NBD_EOVERFLOW = 75,
  NBD_ENOTSUP = 95,
  NBD_ESHUTDOWN = 108,
} NbdErrno;

/* Fill the next bytes of a message; returns where the ones after them go. */
static inline guint8 *
h2k_nbd_put16 (guint8 *p, guint16 value)
{
  value = GUINT16_TO_BE (value);
  memcpy (p, &value, sizeof value);
  return p + sizeof value;
}

static inline guint8 *
h2k_nbd_put32 (guint8 *p, guint32 value)
{
  value = GUINT32_TO_BE (value);
  memcpy (p, &value, sizeof value);
  return p + sizeof value;
}

static inline guint8 *
h2k_nbd_put64 (guint8 *p, guint64 value)
{
  value = GUINT64_TO_BE (value);
  memcpy (p, &value, sizeof value);
  return p + sizeof value;
}

/* --- the server ------------------------------------------------------------------------------- */

#define NBD_MAX_REQUEST ((guint32)32 << 20) /* bytes of one read or write */
#define NBD_PREFERRED 4096                  /* the overlay's block */

struct _H2kNbdServer
{
  H2kDisk *disk;
  char *name, *description;
  gboolean writable;
  guint max_connections, max_threads;
  GCancellable *cancellable; /* the reads for clients that have no more time */
  int stopping;              /* atomic */
  int complaints;            /* atomic: errors that were logged, or left out */
  int requests;              /* atomic: that were taken from clients; wraps around */

  int listener; /* -1: none */
  int wake;     /* an eventfd: the listening thread has to look at what changed */
  GThread *thread;
  char *uri, *socket;
  char *folder;     /* the socket's, made for it; NULL: none was */
  guint64 dev, ino; /* of the socket */

  GMutex lock; /* for what follows */
  GCond changed;
  GPtrArray *connections; /* NbdConnection *: also those that are done, until they are reaped */
  guint living;           /* of them */
  guint users;            /* of them, those that use the export */
  gboolean used;          /* somebody does or did */
  GError *failure;        /* the first of the disk's errors; NULL: none */
};

/* A connection is served by threads that take turns: one reads a request, lets the next one read
 * and answers what it has read. They are started as they are needed. */
typedef struct
{
  H2kNbdServer *server;
  GThread *thread; /* the first one; it joins the others */
  int fd;
  gint64 deadline; /* monotonic: of the negotiation; 0: it is over */
  gboolean done;   /* with the server's lock: FD is closed, and the thread about to end */

  /* What was negotiated. */
  gboolean fixed, no_zeroes, structured, has_status;

  GMutex read_lock;   /* for reading from FD, and for: */
  gboolean ended;     /* there is nothing more to be read */
  GPtrArray *helpers; /* GThread *: all but the first */
  int waiting;        /* atomic: threads that wait for the lock */

  GMutex send_lock; /* a message is not interrupted by others */
} NbdConnection;

/* Receive exactly LENGTH bytes. FALSE: the client is gone, or the deadline has passed. */
gboolean h2k_nbd_receive (NbdConnection *c, void *buffer, gsize length);
/* Receive and forget LENGTH bytes. */
gboolean h2k_nbd_skip (NbdConnection *c, guint64 length);
/* Send COUNT pieces, which are changed, as one; with the send lock where there are more threads.
 * FALSE: the client is gone; the connection then ends by itself. */
gboolean h2k_nbd_send (NbdConnection *c, struct iovec *pieces, guint count);
/* Let the connection end, now. */
void h2k_nbd_hang_up (NbdConnection *c);
/* Start one more thread for the connection, when it may have one; with the read lock. */
void h2k_nbd_add_helper (NbdConnection *c);

/* Log an error that is no client's, unless there were many already. */
void h2k_nbd_complain (H2kNbdServer *server, const char *text);
/* A client is told of an error of the disk. */
void h2k_nbd_note_failure (H2kNbdServer *server, const GError *error);

/* Negotiate (nbd-negotiate.c). TRUE: the client wants to use the export. */
gboolean h2k_nbd_negotiate (NbdConnection *c);
/* Answer requests until there are no more (nbd-transmit.c); by each of a connection's threads. */
void h2k_nbd_transmit (NbdConnection *c);
