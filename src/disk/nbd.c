/* nbd.c - exports of NBD servers as files, and to be written, through libnbd.
 *
 * Follows the NBD protocol (doc/proto.md of NetworkBlockDevice/nbd) and its URIs (doc/uri.md).
 * To what was opened for reading nothing but reads and block status is ever sent. A libnbd handle
 * is one connection and is used by one thread at a time; there are several when the server says
 * that it keeps them consistent.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/nbd.h"
#include "disk/remote.h"

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_LINKS 8u
#define MAX_REQUEST ((guint64)2 << 20) /* what is lost when a connection breaks */
#define MAX_UNIT 65536                 /* the protocol's limit for the least size of a request */
#define STATUS_SPAN ((guint64)1 << 30) /* asked for at once */
#define MAX_EXTENTS 65536u             /* kept of an answer */
#define TICK_MS 100
#define MORE_LINKS_SECONDS 2u         /* for a connection that we could do without */
#define SERVER_ERROR_TRIES 3u         /* for what the server itself could not read */
#define MAX_ZERO ((guint64)128 << 20) /* in one request; the server may have to write them */
#define DEFAULT_PORT 10809
#define FLUSH_FACTOR 10u /* a flush may take so many times longer than a request */

typedef struct
{
  H2kRemote remote;
  char *uri;
  gboolean fixed_links; /* no further connections */
  guint64 unit;         /* requests are multiples of this */
  guint64 most;         /* in one request */
  gboolean has_status;

  gboolean output; /* may be written; what follows is for that */
  gboolean can_flush;
  int can_zero;       /* atomic: requests without data for it are taken */
  int was_lost;       /* atomic: a connection broke */
  guint8 *zeros;      /* MOST bytes */
  GMutex shared_lock; /* held while a unit is changed in part */

  GMutex status_lock; /* for what follows; held while the server is asked */
  GArray *extents;    /* H2kExtent: the last answer, ascending, without gaps */
} Nbd;

/* What a block status request collects. */
typedef struct
{
  Nbd *nbd;
  guint64 offset; /* asked for */
  guint64 end;
  GArray *extents;
} Status;

/* A range that is written and goes on where it broke. */
typedef struct
{
  guint64 offset;
  guint64 length;
  const guint8 *data; /* NULL: zeros */
} Write;

/* --- errors ----------------------------------------------------------------------------------- */

static int
error_code (const Nbd *nbd)
{
  return nbd->output ? H2K_ERROR_OUTPUT : H2K_ERROR_SOURCE;
}

/* libnbd's last error in this thread; servers' texts are in it. */
static void
set_error (const Nbd *nbd, const char *what, GError **error)
{
  const char *text = nbd_get_error ();
  g_autofree char *safe = h2k_escape_text (text ? text : "no reason given", -1);
  const char *colon = strstr (safe, ": ");

  /* "nbd_connect_uri: …": the function is of no interest. */
  if (g_str_has_prefix (safe, "nbd_") && colon)
    colon += 2;
  else
    colon = safe;
  g_set_error (error, H2K_ERROR,
               nbd->output && nbd_get_errno () == ENOSPC ? H2K_ERROR_NO_SPACE : error_code (nbd),
               "%s: %s: %s", nbd->remote.file.name, what, colon);
}

static gboolean
is_gone (struct nbd_handle *h)
{
  return nbd_aio_is_dead (h) == 1 || nbd_aio_is_closed (h) == 1;
}

/* What another try will not change. */
static gboolean
is_final (int err)
{
  return err == EPERM || err == EINVAL || err == ENOSPC || err == EOVERFLOW || err == ENOTSUP;
}

/* Let libnbd work until DONE says so. FALSE with TROUBLE filled in: the connection is of no more
 * use, or the server said no. */
static gboolean
wait_until (Nbd *nbd, struct nbd_handle *h, int (*done) (struct nbd_handle *h, guint64 cookie),
            guint64 cookie, guint seconds, const char *what, H2kTrouble *trouble, GError **error)
{
  gint64 until = g_get_monotonic_time () + (gint64)seconds * G_USEC_PER_SEC;
  int result;

  trouble->again = TRUE;
  trouble->broken = TRUE;
  while ((result = done (h, cookie)) == 0)
    {
      if (h2k_remote_is_cancelled (error))
        return FALSE;
      if (g_get_monotonic_time () > until)
        {
          g_set_error (error, H2K_ERROR, error_code (nbd),
                       "%s: %s: the server has not answered for %u seconds", nbd->remote.file.name,
                       what, seconds);
          return FALSE;
        }
      if (is_gone (h) || nbd_poll (h, TICK_MS) < 0)
        break;
    }
  if (result == 1)
    return TRUE;
  set_error (nbd, what, error);
  if (result < 0 && !is_gone (h) && nbd_get_errno () != ESHUTDOWN)
    {
      trouble->broken = FALSE;
      trouble->again = !is_final (nbd_get_errno ());
      trouble->tries = SERVER_ERROR_TRIES;
    }
  return FALSE;
}

static int
is_ready (struct nbd_handle *h, guint64 cookie)
{
  return nbd_aio_is_ready (h) == 1;
}

static int
is_completed (struct nbd_handle *h, guint64 cookie)
{
  return nbd_aio_command_completed (h, cookie);
}

/* Wait for the request COOKIE, which is negative when libnbd did not take it. */
static gboolean
finish_request (Nbd *nbd, struct nbd_handle *h, gint64 cookie, guint seconds, const char *what,
                H2kTrouble *trouble, GError **error)
{
  if (cookie >= 0
      && wait_until (nbd, h, is_completed, (guint64)cookie, seconds, what, trouble, error))
    return TRUE;
  if (cookie < 0)
    {
      trouble->again = trouble->broken = TRUE;
      set_error (nbd, what, error);
    }
  if (trouble->broken)
    g_atomic_int_set (&nbd->was_lost, TRUE);
  return FALSE;
}

/* --- connections ------------------------------------------------------------------------------ */

static void
nbd_disconnect (gpointer link)
{
  /* Say good-bye where that does not take waiting. */
  if (nbd_aio_is_ready (link) == 1 && nbd_aio_in_flight (link) == 0)
    nbd_aio_disconnect (link, 0);
  nbd_close (link);
}

static struct nbd_handle *
new_handle (Nbd *nbd)
{
  struct nbd_handle *h = nbd_create ();

  if (!h)
    g_error ("libnbd: %s", nbd_get_error ());
  nbd_add_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION);
  /* The URI is the user's own: it may name files with keys. */
  nbd_set_uri_allow_local_file (h, true);
  /* Whether the end of an export that is no multiple of its unit can be read is the server's to
   * say. */
  nbd_set_strict_mode (h, nbd_get_strict_mode (h) & ~LIBNBD_STRICT_ALIGN);
#ifdef LIBNBD_HAVE_NBD_SET_PREAD_INITIALIZE
  nbd_set_pread_initialize (h, false);
#endif
  return h;
}

/* A server that has come back must have the same export. */
static gboolean
check_size (Nbd *nbd, struct nbd_handle *h, H2kTrouble *trouble, GError **error)
{
  gint64 size = nbd_get_size (h);

  if (size >= 0 && (guint64)size == nbd->remote.file.size)
    return TRUE;
  trouble->again = FALSE;
  g_set_error (error, H2K_ERROR, error_code (nbd),
               "%s: the export changed while it was %s: it had %" G_GUINT64_FORMAT
               " bytes and now has %" G_GINT64_FORMAT "; stop what changes it and start again",
               nbd->remote.file.name, nbd->output ? "written" : "read", nbd->remote.file.size,
               size);
  return FALSE;
}

static struct nbd_handle *
dial (Nbd *nbd, guint seconds, H2kTrouble *trouble, GError **error)
{
  struct nbd_handle *h = new_handle (nbd);

  trouble->again = TRUE;
  if (nbd_aio_connect_uri (h, nbd->uri) < 0)
    set_error (nbd, "cannot connect", error);
  else if (wait_until (nbd, h, is_ready, 0, seconds, "cannot connect", trouble, error))
    return h;
  nbd_close (h);
  return NULL;
}

static gpointer
nbd_connect_link (H2kRemote *remote, H2kTrouble *trouble, GError **error)
{
  Nbd *nbd = (Nbd *)remote;
  guint seconds = h2k_remote_stall ();
  struct nbd_handle *h;

  if (nbd->fixed_links)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "%s: the server has ended",
                   remote->file.name);
      trouble->again = FALSE;
      return NULL;
    }
  if (remote->links > 1)
    seconds = MIN (seconds, MORE_LINKS_SECONDS);
  h = dial (nbd, seconds, trouble, error);
  if (h && !check_size (nbd, h, trouble, error))
    g_clear_pointer (&h, nbd_close);
  return h;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* One request, which lies inside the export. */
static gboolean
request (Nbd *nbd, struct nbd_handle *h, guint64 offset, gsize length, void *buffer,
         H2kTrouble *trouble, GError **error)
{
  g_autofree char *what
      = g_strdup_printf ("cannot read %" G_GSIZE_FORMAT " bytes at offset %" G_GUINT64_FORMAT,
                         length, offset);
  gint64 cookie = nbd_aio_pread (h, buffer, length, offset, NBD_NULL_COMPLETION, 0);

  return finish_request (nbd, h, cookie, h2k_remote_stall (), what, trouble, error);
}

/* The same for what does not fit the server's unit. */
static gboolean
request_unaligned (Nbd *nbd, struct nbd_handle *h, H2kRemoteRead *read, gsize length,
                   H2kTrouble *trouble, GError **error)
{
  guint64 start = read->offset / nbd->unit * nbd->unit;
  guint64 end = MIN ((read->offset + length + nbd->unit - 1) / nbd->unit * nbd->unit,
                     nbd->remote.file.size);
  g_autofree guint8 *bounce = g_malloc ((gsize)(end - start));

  if (!request (nbd, h, start, (gsize)(end - start), bounce, trouble, error))
    return FALSE;
  memcpy (read->buffer, bounce + (read->offset - start), length);
  return TRUE;
}

static gboolean
nbd_read (H2kRemote *remote, gpointer link, H2kRemoteRead *read, H2kTrouble *trouble,
          GError **error)
{
  Nbd *nbd = (Nbd *)remote;

  while (read->length)
    {
      /* The next piece ends where a request of the largest size would. */
      guint64 room = nbd->most - read->offset % nbd->unit;
      gsize n = (gsize)MIN (read->length, room);
      gboolean whole = read->offset % nbd->unit == 0
                       && (n % nbd->unit == 0 || read->offset + n == remote->file.size);

      if (whole ? !request (nbd, link, read->offset, n, read->buffer, trouble, error)
                : !request_unaligned (nbd, link, read, n, trouble, error))
        return FALSE;
      read->offset += n;
      read->buffer += n;
      read->length -= n;
    }
  return TRUE;
}

static const H2kRemoteOps remote_ops = {
    .direct = 32 << 10,
    .connect = nbd_connect_link,
    .disconnect = nbd_disconnect,
    .read = nbd_read,
};

/* --- extents ---------------------------------------------------------------------------------- */

static int
take_extents (void *data, const char *context, guint64 offset, guint32 *entries, gsize count,
              int *err)
{
  Status *status = data;
  GArray *extents = status->extents;

  if (g_strcmp0 (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 || offset != status->offset)
    return 0;
  for (gsize i = 0; i + 1 < count && offset < status->end; i += 2)
    {
      H2kExtent *last = extents->len ? &g_array_index (extents, H2kExtent, extents->len - 1) : NULL;
      guint64 length = MIN (entries[i], status->end - offset);
      H2kExtentKind kind
          = entries[i + 1] & LIBNBD_STATE_ZERO ? H2K_EXTENT_UNALLOCATED : H2K_EXTENT_DATA;
      H2kExtent next = {offset, length, kind};

      if (length == 0)
        break;
      if (last && last->kind == kind)
        last->length += length;
      else if (extents->len < MAX_EXTENTS)
        g_array_append_val (extents, next);
      else
        break;
      offset += length;
    }
  return 0;
}

static gboolean
try_status (H2kRemote *remote, gpointer link, gpointer job, H2kTrouble *trouble, GError **error)
{
  Status *status = job;
  nbd_extent_callback callback = {0};
  gint64 cookie;

  callback.callback = take_extents;
  callback.user_data = status;
  g_array_set_size (status->extents, 0);
  cookie = nbd_aio_block_status (link, status->end - status->offset, status->offset, callback,
                                 NBD_NULL_COMPLETION, 0);
  return finish_request (status->nbd, link, cookie, h2k_remote_stall (),
                         "cannot ask what is allocated", trouble, error);
}

/* Ask the server about OFFSET and what follows. With the status lock. */
static gboolean
ask_server (Nbd *nbd, guint64 offset, GError **error)
{
  guint64 start = offset / nbd->unit * nbd->unit, size = nbd->remote.file.size;
  guint64 whole = size - size % nbd->unit;
  Status status
      = {nbd, start, MIN (start < whole ? whole : size, start + STATUS_SPAN), nbd->extents};
  g_autoptr (GError) local = NULL;

  if (h2k_remote_run (&nbd->remote, try_status, &status, &local) && nbd->extents->len)
    return TRUE;
  if (local
      && (g_error_matches (local, H2K_ERROR, H2K_ERROR_CANCELLED)
          || g_atomic_int_get (&nbd->remote.lost)))
    {
      g_array_set_size (nbd->extents, 0);
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  /* Reading everything is always right. */
  g_info ("%s: what is allocated is not known%s%s", nbd->remote.file.name, local ? ": " : "",
          local ? local->message : "");
  nbd->has_status = FALSE;
  return TRUE;
}

/* The extent of the last answer that holds OFFSET. With the status lock. */
static const H2kExtent *
look_up (Nbd *nbd, guint64 offset)
{
  guint low = 0, high = nbd->extents->len;

  while (high > low)
    {
      guint middle = low + (high - low) / 2;
      const H2kExtent *e = &g_array_index (nbd->extents, H2kExtent, middle);

      if (offset < e->offset)
        high = middle;
      else if (offset - e->offset >= e->length)
        low = middle + 1;
      else
        return e;
    }
  return NULL;
}

static gboolean
nbd_extent (H2kFile *file, guint64 offset, H2kExtent *extent, GError **error)
{
  Nbd *nbd = (Nbd *)file;
  const H2kExtent *found;
  gboolean ok = TRUE;

  g_mutex_lock (&nbd->status_lock);
  found = nbd->has_status ? look_up (nbd, offset) : NULL;
  if (!found && nbd->has_status)
    {
      ok = ask_server (nbd, offset, error);
      found = ok && nbd->has_status ? look_up (nbd, offset) : NULL;
    }
  if (found)
    *extent = (H2kExtent){offset, found->length - (offset - found->offset), found->kind};
  g_mutex_unlock (&nbd->status_lock);
  return ok;
}

static void
nbd_finalize (H2kFile *file)
{
  Nbd *nbd = (Nbd *)file;

  h2k_remote_clear (&nbd->remote);
  g_array_unref (nbd->extents);
  g_mutex_clear (&nbd->status_lock);
  g_mutex_clear (&nbd->shared_lock);
  g_free (nbd->zeros);
  g_free (nbd->uri);
}

static const H2kFileOps file_ops = {
    .pread = h2k_remote_pread,
    .extent = nbd_extent,
    .finalize = nbd_finalize,
};

/* --- opening ---------------------------------------------------------------------------------- */

/* What the first connection says about the export. */
static gboolean
look_at (Nbd *nbd, struct nbd_handle *h, GError **error)
{
  gint64 size = nbd_get_size (h);
  gint64 least = nbd_get_block_size (h, LIBNBD_SIZE_MINIMUM);
  gint64 most = nbd_get_block_size (h, LIBNBD_SIZE_MAXIMUM);

  if (size < 0)
    {
      set_error (nbd, "cannot find out the export's size", error);
      return FALSE;
    }
  if (least > MAX_UNIT || (least > 0 && (least & (least - 1))))
    {
      g_set_error (error, H2K_ERROR, error_code (nbd),
                   "%s: the server wants requests of at least %" G_GINT64_FORMAT
                   " bytes, which the protocol does not allow",
                   nbd->remote.file.name, least);
      return FALSE;
    }
  nbd->remote.file.size = (guint64)size;
  nbd->unit = least > 0 ? (guint64)least : 1;
  nbd->most = most > 0 ? MIN ((guint64)most, MAX_REQUEST) : MAX_REQUEST;
  nbd->most = MAX (nbd->most / nbd->unit * nbd->unit, nbd->unit);
  nbd->has_status = nbd_can_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  nbd->remote.max_links = nbd_can_multi_conn (h) == 1 ? MAX_LINKS : 1;
  g_debug ("%s: %s, %s, requests from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT " bytes",
           nbd->remote.file.name, nbd->has_status ? "tells what is allocated" : "all is data",
           nbd->remote.max_links > 1 ? "several connections" : "one connection", nbd->unit,
           nbd->most);
  return TRUE;
}

static Nbd *
new_nbd (const char *uri)
{
  Nbd *nbd = g_new0 (Nbd, 1);

  h2k_remote_init (&nbd->remote, &file_ops, &remote_ops, uri, "nbd");
  nbd->uri = g_strdup (uri);
  nbd->extents = g_array_new (FALSE, FALSE, sizeof (H2kExtent));
  g_mutex_init (&nbd->status_lock);
  g_mutex_init (&nbd->shared_lock);
  return nbd;
}

/* What URI says about the parameter NAME, or NULL. The caller's. */
static char *
uri_parameter (const char *uri, const char *name)
{
  g_autoptr (GUri) parts = g_uri_parse (uri, G_URI_FLAGS_ENCODED_QUERY, NULL);
  const char *query = parts ? g_uri_get_query (parts) : NULL;
  g_autoptr (GHashTable) parameters
      = query ? g_uri_parse_params (query, -1, "&;", G_URI_PARAMS_NONE, NULL) : NULL;

  return parameters ? g_strdup (g_hash_table_lookup (parameters, name)) : NULL;
}

/* Whether libnbd finds an authority for certificates; it looks for one nowhere else. */
static gboolean
has_authority (const char *uri)
{
  g_autofree char *given = uri_parameter (uri, "tls-certificates");
  const char *home = g_getenv ("HOME");
  const struct
  {
    const char *parent, *folder;
  } places[] = {
      {given, ""},
      {given || geteuid () == 0 ? NULL : home, ".pki/libnbd"},
      {given || geteuid () == 0 ? NULL : home, ".config/pki/libnbd"},
      {given ? NULL : "/etc", "pki/libnbd"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (places); i++)
    {
      g_autofree char *path
          = places[i].parent
                ? g_build_filename (places[i].parent, places[i].folder, "ca-cert.pem", NULL)
                : NULL;

      if (path && access (path, R_OK) == 0)
        return TRUE;
    }
  return FALSE;
}

/* Without an authority libnbd takes any certificate, which makes TLS useless. On a Unix socket it
 * takes any, too, but there the socket's owner says who may listen. */
static gboolean
check_tls (const char *uri, const char *name, GError **error)
{
  const char *scheme = g_uri_peek_scheme (uri); /* in small letters */
  g_autofree char *keys = uri_parameter (uri, "tls-psk-file");
  struct nbd_handle *h;
  gboolean tls;

  if (!scheme || !g_str_has_prefix (scheme, "nbds"))
    return TRUE;
  h = nbd_create ();
  tls = h && nbd_supports_tls (h) == 1;
  nbd_close (h);
  if (!tls)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: the libnbd that is installed was built without TLS", name);
  else if (g_str_equal (scheme, "nbds") && !keys && !has_authority (uri))
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "%s: there is no ca-cert.pem to check the server's certificate with; name the "
                 "folder that has it in the URI (?tls-certificates=FOLDER)",
                 name);
  else
    return TRUE;
  return FALSE;
}

/* The first connection; NULL: there is none. */
static struct nbd_handle *
meet (Nbd *nbd, GError **error)
{
  H2kTrouble trouble = {0};
  struct nbd_handle *h = NULL;

  if (check_tls (nbd->uri, nbd->remote.file.name, error))
    h = dial (nbd, h2k_remote_stall (), &trouble, error);
  if (h)
    h2k_remote_add_link (&nbd->remote, h);
  return h && look_at (nbd, h, error) ? h : NULL;
}

H2kFile *
h2k_nbd_open (const char *uri, GError **error)
{
  Nbd *nbd = new_nbd (uri);
  g_autoptr (H2kFile) file = &nbd->remote.file;

  return meet (nbd, error) ? g_steal_pointer (&file) : NULL;
}

H2kFile *
h2k_nbd_open_links (const char *uri, guint links, GError **error)
{
  g_autoptr (H2kFile) file = h2k_nbd_open (uri, error);
  Nbd *nbd = (Nbd *)file;

  if (!file)
    return NULL;
  for (guint i = 1; i < links && nbd->remote.max_links > 1; i++)
    {
      H2kTrouble trouble = {0};
      gpointer h = nbd_connect_link (&nbd->remote, &trouble, error);

      if (!h)
        return NULL;
      h2k_remote_add_link (&nbd->remote, h);
    }
  nbd->fixed_links = TRUE;
  return g_steal_pointer (&file);
}

/* --- writing ---------------------------------------------------------------------------------- */

static gboolean
send_piece (Nbd *nbd, struct nbd_handle *h, guint64 offset, guint64 length, const guint8 *data,
            H2kTrouble *trouble, GError **error)
{
  g_autofree char *what
      = g_strdup_printf ("cannot write %" G_GUINT64_FORMAT " %s at offset %" G_GUINT64_FORMAT,
                         length, data ? "bytes" : "zeros", offset);
  gint64 cookie = data ? nbd_aio_pwrite (h, data, length, offset, NBD_NULL_COMPLETION, 0)
                       : nbd_aio_zero (h, length, offset, NBD_NULL_COMPLETION, 0);

  return finish_request (nbd, h, cookie, h2k_remote_stall (), what, trouble, error);
}

/* The same for a part of a unit: the rest of it is kept, which may be another thread's. */
static gboolean
send_shared (Nbd *nbd, struct nbd_handle *h, guint64 offset, guint64 length, const guint8 *data,
             H2kTrouble *trouble, GError **error)
{
  guint64 start = offset / nbd->unit * nbd->unit;
  gsize n = (gsize)MIN (nbd->unit, nbd->remote.file.size - start);
  g_autofree guint8 *bounce = g_malloc (n);
  gboolean ok;

  g_mutex_lock (&nbd->shared_lock);
  ok = request (nbd, h, start, n, bounce, trouble, error);
  if (ok)
    {
      memcpy (bounce + (offset - start), data, length);
      ok = send_piece (nbd, h, start, n, bounce, trouble, error);
    }
  g_mutex_unlock (&nbd->shared_lock);
  return ok;
}

/* The next piece of WRITE: whole units, up to MOST bytes, or a part of one. */
static guint64
next_piece (const Nbd *nbd, const Write *write, guint64 most, gboolean *whole)
{
  guint64 inside = write->offset % nbd->unit, n = MIN (write->length, most);

  if (write->offset + n < nbd->remote.file.size)
    n -= n % nbd->unit;
  *whole = inside == 0 && n > 0;
  return *whole ? n : MIN (write->length, nbd->unit - inside);
}

static gboolean
write_piece (Nbd *nbd, struct nbd_handle *h, Write *write, H2kTrouble *trouble, GError **error)
{
  gboolean zero = !write->data && g_atomic_int_get (&nbd->can_zero), whole;
  guint64 n = next_piece (nbd, write, zero ? MAX_ZERO : nbd->most, &whole);
  const guint8 *data = write->data ? write->data : nbd->zeros;
  g_autoptr (GError) local = NULL;

  if (!whole ? !send_shared (nbd, h, write->offset, n, data, trouble, &local)
             : !send_piece (nbd, h, write->offset, n, zero ? NULL : data, trouble, &local))
    {
      if (!whole || !zero || trouble->broken)
        {
          g_propagate_error (error, g_steal_pointer (&local));
          return FALSE;
        }
      g_info ("%s; they are sent as data from now on", local->message);
      g_atomic_int_set (&nbd->can_zero, FALSE);
      *trouble = (H2kTrouble){0};
      return TRUE;
    }
  write->offset += n;
  write->length -= n;
  write->data = write->data ? write->data + n : NULL;
  return TRUE;
}

static gboolean
try_write (H2kRemote *remote, gpointer link, gpointer job, H2kTrouble *trouble, GError **error)
{
  Write *write = job;
  guint64 before = write->length;
  gboolean ok = TRUE;

  while (ok && write->length)
    ok = write_piece ((Nbd *)remote, link, write, trouble, error);
  trouble->progress = write->length < before;
  return ok;
}

/* Zeros that are not there yet. What the server said about a range holds until that is written, and
 * it is asked for before only. */
static gboolean
write_zeros (Nbd *nbd, guint64 offset, guint64 length, GError **error)
{
  H2kExtent extent;

  for (guint64 end = offset + length; offset < end; offset = extent.offset + extent.length)
    {
      Write write = {offset, 0, NULL};

      if (!h2k_file_extent (&nbd->remote.file, offset, &extent, error))
        return FALSE;
      extent.length = MIN (extent.length, end - offset);
      write.length = extent.length;
      if (extent.kind == H2K_EXTENT_DATA
          && !h2k_remote_run (&nbd->remote, try_write, &write, error))
        return FALSE;
    }
  return TRUE;
}

guint64
h2k_nbd_room (H2kFile *file)
{
  return file->size - file->size % ((Nbd *)file)->unit;
}

gboolean
h2k_nbd_write (H2kFile *file, guint64 offset, guint64 length, const guint8 *data, GError **error)
{
  Nbd *nbd = (Nbd *)file;
  Write write = {offset, length, data};

  g_return_val_if_fail (nbd->output, FALSE);
  g_return_val_if_fail (length <= file->size && offset <= file->size - length, FALSE);
  if (!data)
    return write_zeros (nbd, offset, length, error);
  return h2k_remote_run (&nbd->remote, try_write, &write, error);
}

static gboolean
try_flush (H2kRemote *remote, gpointer link, gpointer job, H2kTrouble *trouble, GError **error)
{
  gint64 cookie = nbd_aio_flush (link, NBD_NULL_COMPLETION, 0);

  if (finish_request ((Nbd *)remote, link, cookie, FLUSH_FACTOR * h2k_remote_stall (),
                      "cannot flush what was written", trouble, error))
    return TRUE;
  /* What a server could not store it may forget, and then say that all is well. */
  trouble->again = trouble->broken;
  return FALSE;
}

gboolean
h2k_nbd_flush (H2kFile *file, GError **error)
{
  Nbd *nbd = (Nbd *)file;

  g_return_val_if_fail (nbd->output, FALSE);
  return !nbd->can_flush || h2k_remote_run (&nbd->remote, try_flush, NULL, error);
}

gboolean
h2k_nbd_was_lost (H2kFile *file)
{
  return g_atomic_int_get (&((Nbd *)file)->was_lost);
}

/* --- exports to be written -------------------------------------------------------------------- */

gboolean
h2k_nbd_is_uri (const char *uri)
{
  static const char *const schemes[] = {"nbd", "nbds", "nbd+unix", "nbds+unix", NULL};
  const char *scheme = h2k_file_is_uri (uri) ? g_uri_peek_scheme (uri) : NULL; /* small letters */

  return scheme && g_strv_contains (schemes, scheme);
}

/* What of URI says which export it is; NULL: it cannot be told. The caller's. */
static char *
export_key (const char *uri)
{
  static const char *const here[] = {"localhost", "127.0.0.1", "::1", NULL};
  g_autoptr (GUri) parts = g_uri_parse (uri, G_URI_FLAGS_ENCODED_QUERY, NULL);
  g_autofree char *host = NULL, *path = NULL, *socket = uri_parameter (uri, "socket");
  const char *export;

  if (!parts)
    return NULL;
  export = g_uri_get_path (parts);
  export += *export == '/';
  if (socket)
    {
      path = realpath (socket, NULL);
      return g_strdup_printf ("unix:%s:%s", path ? path : socket, export);
    }
  host = g_ascii_strdown (g_uri_get_host (parts) ? g_uri_get_host (parts) : "", -1);
  return g_strdup_printf ("%s:%d:%s", g_strv_contains (here, host) || !*host ? here[0] : host,
                          g_uri_get_port (parts) > 0 ? g_uri_get_port (parts) : DEFAULT_PORT,
                          export);
}

gboolean
h2k_nbd_same_export (const char *a, const char *b)
{
  g_autofree char *key_a = h2k_nbd_is_uri (a) ? export_key (a) : NULL;
  g_autofree char *key_b = h2k_nbd_is_uri (b) ? export_key (b) : NULL;

  return g_str_equal (a, b) || (key_a && key_b && g_str_equal (key_a, key_b));
}

H2kFile *
h2k_nbd_open_output (const char *uri, GError **error)
{
  Nbd *nbd = new_nbd (uri);
  g_autoptr (H2kFile) file = &nbd->remote.file;
  struct nbd_handle *h;

  nbd->output = TRUE;
  h = meet (nbd, error);
  if (!h)
    return NULL;
  if (nbd_is_read_only (h) != 0)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                   "%s: the export is read-only; start its server so that it can be written, or "
                   "choose another output",
                   file->name);
      return NULL;
    }
  nbd->can_zero = nbd_can_zero (h) == 1;
  nbd->can_flush = nbd_can_flush (h) == 1;
  nbd->zeros = g_malloc0 (nbd->most);
  return g_steal_pointer (&file);
}

H2kFile *
h2k_nbd_reopen (H2kFile *file)
{
  Nbd *from = (Nbd *)file, *nbd = new_nbd (from->uri);
  gpointer link;

  nbd->remote.file.size = file->size;
  nbd->remote.max_links = from->remote.max_links;
  nbd->unit = from->unit;
  nbd->most = from->most;
  nbd->has_status = from->has_status;
  while ((link = h2k_remote_take_idle (&from->remote)))
    h2k_remote_add_link (&nbd->remote, link);
  return &nbd->remote.file;
}
