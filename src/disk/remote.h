/* remote.h - what files on servers have in common: links that are handed out to one thread at a
 * time, patience with a server that is away, small reads out of a cache, names fit to be shown.
 *
 * A kind of server is a file with H2kRemoteOps and one line in the table of file.c.
 *
 * Everything that waits ends soon after the thread's current cancellable
 * (g_cancellable_push_current()) is cancelled, with H2K_ERROR_CANCELLED.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/cache.h"
#include "disk/file.h"

/* How the kinds open URI. Errors: H2K_ERROR_USAGE (the URI), _SOURCE, _UNSUPPORTED, _TOOL. */
H2kFile *h2k_nbd_open (const char *uri, GError **error);
H2kFile *h2k_http_open (const char *uri, GError **error);
H2kFile *h2k_sftp_open (const char *uri, GError **error);
H2kFile *h2k_qemu_open_uri (const char *uri, GError **error);

/* NBD with LINKS connections that are made at once; none is made later. */
H2kFile *h2k_nbd_open_links (const char *uri, guint links, GError **error);

/* URI as it may be shown and logged: without user, password and, since signatures are in it, an
 * http query. The caller's. */
char *h2k_uri_shown (const char *uri);

/* --- patience --------------------------------------------------------------------------------- */

/* Seconds without any progress after which a server is given up: H2K_PATIENCE, 60 without it. */
guint h2k_remote_patience (void);
/* Seconds that one request may make no progress, and a connection may take. */
guint h2k_remote_stall (void);
/* Whether the current thread's work is cancelled; sets H2K_ERROR_CANCELLED. */
gboolean h2k_remote_is_cancelled (GError **error);

/* --- the shared part -------------------------------------------------------------------------- */

typedef struct _H2kRemote H2kRemote;

/* What a failed try says about the next one. */
typedef struct
{
  gboolean again;    /* it may work another time */
  gboolean broken;   /* the link is of no more use */
  gboolean progress; /* something was done: patience starts anew */
  guint tries;       /* at most so many without progress; 0: as patience allows */
  guint64 wait;      /* seconds that the server asks to wait */
} H2kTrouble;

/* A read that goes on where it broke: whoever gets bytes moves it forward. */
typedef struct
{
  guint64 offset;
  gsize length;
  guint8 *buffer;
} H2kRemoteRead;

typedef struct
{
  gsize direct; /* reads from this size on go to the server as they are */
  /* A new link, for one thread at a time. */
  gpointer (*connect) (H2kRemote *remote, H2kTrouble *trouble, GError **error);
  void (*disconnect) (gpointer link);
  /* One try to read all of READ. */
  gboolean (*read) (H2kRemote *remote, gpointer link, H2kRemoteRead *read, H2kTrouble *trouble,
                    GError **error);
} H2kRemoteOps;

/* A kind's structure begins with this. */
struct _H2kRemote
{
  H2kFile file;
  const H2kRemoteOps *ops;
  guint max_links;

  GMutex lock; /* for what follows */
  GCond changed;
  GPtrArray *idle;     /* links */
  guint links;         /* all there are, and those being made */
  gint64 no_more;      /* monotonic time before which no further link is tried */
  GHashTable *pending; /* guint64 *: blocks that are being fetched */
  H2kCache *cache;     /* of blocks; has a lock of its own */
  int lost;            /* atomic: the server was given up, and is not waited for again */
};

/* Fill the shared part; SIZE can be set later. The file's name is h2k_uri_shown(). */
void h2k_remote_init (H2kRemote *remote, const H2kFileOps *file_ops, const H2kRemoteOps *ops,
                      const char *uri, const char *server);
/* Give back a link that was made by the kind itself. */
void h2k_remote_add_link (H2kRemote *remote, gpointer link);
/* Take a link that is not in use away for good; NULL: there is none. */
gpointer h2k_remote_take_idle (H2kRemote *remote);
/* Free the shared part, links first. */
void h2k_remote_clear (H2kRemote *remote);

/* A try at a JOB over LINK. */
typedef gboolean (*H2kRemoteTry) (H2kRemote *remote, gpointer link, gpointer job,
                                  H2kTrouble *trouble, GError **error);
/* Try until it works, with growing pauses, over links of the pool. */
gboolean h2k_remote_run (H2kRemote *remote, H2kRemoteTry try_it, gpointer job, GError **error);

/* H2kFileOps.pread: long reads go to the server as they are, short ones through the cache. */
gboolean h2k_remote_pread (H2kFile *file, guint64 offset, gsize length, void *buffer,
                           GError **error);
