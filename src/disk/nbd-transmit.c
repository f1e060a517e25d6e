/* nbd-transmit.c - the second half of an NBD connection: requests and their replies.
 *
 * Follows "Transmission phase" of NBD's doc/proto.md. Requests are checked before anything is done
 * with them. Long ones are worked on in pieces that fit into a thread's buffer: a structured reply
 * then has several chunks, and a write reaches the disk while it comes in.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/nbd-protocol.h"

#define PIECE ((guint32)1 << 20) /* a thread's buffer */
#define HOLE ((guint32)32 << 10) /* from this length on, one inside a read gets a chunk */
#define QUESTIONS 16             /* for extents, for one piece of a read */
#define MAX_STATUS 2048          /* descriptors in one answer */
#define STATUS_QUESTIONS 16384   /* for extents, for one answer */
#define MAX_MESSAGE 1000         /* bytes of an error's text */
#define REQUEST_HEADER 28
#define CHUNK_HEADER 20
#define CONTEXT_ID 1

typedef struct
{
  NbdConnection *c;
  guint8 *buffer; /* PIECE bytes */
  /* An extent of data that is known from earlier reads; only of a disk that is not written. */
  H2kExtent known;
} Worker;

typedef struct
{
  guint16 flags, type;
  guint64 cookie, offset;
  guint32 length;
  NbdErrno error;   /* it is refused */
  const char *text; /* why; static, or TEXT_BUFFER */
  char text_buffer[MAX_MESSAGE];
} Request;

typedef struct
{
  guint16 flags;      /* that are valid besides FUA */
  gboolean writes;    /* to the disk */
  gboolean has_range; /* offset and length lie in the disk; else they are zero */
  guint32 longest;    /* 0: no matter */
  NbdErrno past_end;
  gboolean (*answer) (Worker *w, Request *r);
} Command;

/* --- errors ----------------------------------------------------------------------------------- */

static void
refuse (Request *r, NbdErrno error, const char *text)
{
  r->error = error;
  r->text = text;
}

/* The disk could not do it. */
static void
take_error (Worker *w, Request *r, GError *error)
{
  const char *end;

  if (g_error_matches (error, H2K_ERROR, H2K_ERROR_NO_SPACE))
    r->error = NBD_ENOSPC;
  else if (g_error_matches (error, H2K_ERROR, H2K_ERROR_CANCELLED))
    r->error = NBD_ESHUTDOWN;
  else
    r->error = NBD_EIO;
  if (r->error != NBD_ESHUTDOWN)
    {
      h2k_nbd_complain (w->c->server, error->message);
      h2k_nbd_note_failure (w->c->server, error);
    }
  /* Clients get whole characters. */
  g_strlcpy (r->text_buffer, error->message, sizeof r->text_buffer);
  if (!g_utf8_validate (r->text_buffer, -1, &end))
    r->text_buffer[end - r->text_buffer] = '\0';
  r->text = r->text_buffer;
  g_error_free (error);
}

/* --- replies ---------------------------------------------------------------------------------- */

static gboolean
send_message (NbdConnection *c, struct iovec *pieces, guint count)
{
  gboolean ok;

  g_mutex_lock (&c->send_lock);
  ok = h2k_nbd_send (c, pieces, count);
  g_mutex_unlock (&c->send_lock);
  return ok;
}

static gsize
put_simple (guint8 *header, const Request *r)
{
  guint8 *p = h2k_nbd_put32 (header, NBD_SIMPLE_REPLY_MAGIC);

  p = h2k_nbd_put32 (p, r->error);
  return (gsize)(h2k_nbd_put64 (p, r->cookie) - header);
}

/* A chunk of a structured reply: its own fields in START, then DATA. */
static gboolean
send_chunk (NbdConnection *c, const Request *r, guint16 flags, guint16 type, const guint8 *start,
            gsize start_length, const void *data, gsize length)
{
  guint8 header[CHUNK_HEADER];
  struct iovec pieces[] = {
      {header, sizeof header},
      {(void *)start, start_length},
      {(void *)data, length},
  };
  guint8 *p = h2k_nbd_put32 (header, NBD_STRUCTURED_REPLY_MAGIC);

  p = h2k_nbd_put16 (p, flags);
  p = h2k_nbd_put16 (p, type);
  p = h2k_nbd_put64 (p, r->cookie);
  h2k_nbd_put32 (p, (guint32)(start_length + length));
  return send_message (c, pieces, G_N_ELEMENTS (pieces));
}

/* That the request is done, or why it is not. */
static gboolean
send_result (NbdConnection *c, const Request *r)
{
  guint8 header[16], start[6];
  struct iovec piece = {header, sizeof header};
  gsize length = r->text ? strlen (r->text) : 0;

  if (r->error && c->structured)
    {
      h2k_nbd_put16 (h2k_nbd_put32 (start, r->error), (guint16)length);
      return send_chunk (c, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, start, sizeof start,
                         r->text, length);
    }
  piece.iov_len = put_simple (header, r);
  return send_message (c, &piece, 1);
}

/* That a read, of which some may have been sent, failed at OFFSET. */
static gboolean
send_read_error (NbdConnection *c, const Request *r, guint64 offset)
{
  gsize length = strlen (r->text);
  guint8 start[6], data[MAX_MESSAGE + 8];

  h2k_nbd_put16 (h2k_nbd_put32 (start, r->error), (guint16)length);
  memcpy (data, r->text, length);
  h2k_nbd_put64 (data + length, offset);
  return send_chunk (c, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR_OFFSET, start, sizeof start,
                     data, length + 8);
}

/* --- reading ---------------------------------------------------------------------------------- */

static gboolean
read_disk (Worker *w, Request *r, guint64 offset, guint32 length, guint8 *buffer)
{
  GError *error = NULL;

  if (h2k_disk_pread (w->c->server->disk, offset, length, buffer, &error))
    return TRUE;
  take_error (w, r, error);
  return FALSE;
}

/* Whether all from OFFSET to END is known to be data. */
static gboolean
is_known (const Worker *w, guint64 offset, guint64 end)
{
  return offset >= w->known.offset && end - w->known.offset <= w->known.length;
}

/* Whether a hole begins at OFFSET that is worth a chunk, and how long it is; else LENGTH of data.
 * An extent that cannot be found out is data: reading it tells what is wrong. */
static gboolean
find_hole (Worker *w, guint64 offset, guint64 end, guint64 *length)
{
  H2kDisk *disk = w->c->server->disk;
  H2kExtent extent;
  gboolean keep = !w->c->server->writable;

  *length = end - offset;
  if (!h2k_disk_extent (disk, offset, keep ? disk->size : end, &extent, NULL))
    return FALSE;
  *length = MIN (*length, extent.length);
  if (extent.kind != H2K_EXTENT_DATA)
    return *length >= HOLE || *length == end - offset;
  if (keep)
    w->known = extent;
  return FALSE;
}

/* What the next chunk of a read is: data, one piece at the most, or a hole. */
static gboolean
next_chunk (Worker *w, guint64 offset, guint64 end, guint32 *length)
{
  guint64 limit = MIN (end, offset + PIECE), at = offset, n;

  *length = (guint32)(limit - offset);
  if (end - offset < HOLE || is_known (w, offset, limit))
    return FALSE;
  for (guint i = 0; i < QUESTIONS && at < limit; i++, at += n)
    if (find_hole (w, at, end, &n))
      {
        *length = (guint32)(at == offset ? n : at - offset);
        return at == offset;
      }
  return FALSE;
}

/* The chunk that ends the read has the flag that says so: it is sent when nothing can fail any
 * more. */
static gboolean
read_structured (Worker *w, Request *r)
{
  guint64 end = r->offset + r->length;
  guint32 length;

  for (guint64 at = r->offset; at < end; at += length)
    {
      gboolean hole = next_chunk (w, at, end, &length), ok;
      guint16 flags = at + length == end ? NBD_REPLY_FLAG_DONE : 0;
      guint8 start[12];

      h2k_nbd_put32 (h2k_nbd_put64 (start, at), length);
      if (!hole && !read_disk (w, r, at, length, w->buffer))
        return send_read_error (w->c, r, at);
      if (hole)
        ok = send_chunk (w->c, r, flags, NBD_REPLY_TYPE_OFFSET_HOLE, start, 12, NULL, 0);
      else
        ok = send_chunk (w->c, r, flags, NBD_REPLY_TYPE_OFFSET_DATA, start, 8, w->buffer, length);
      if (!ok)
        return FALSE;
    }
  return TRUE;
}

/* All in one chunk; it fits into the buffer. */
static gboolean
read_unfragmented (Worker *w, Request *r)
{
  guint8 start[8];

  if (!read_disk (w, r, r->offset, r->length, w->buffer))
    return send_read_error (w->c, r, r->offset);
  h2k_nbd_put64 (start, r->offset);
  return send_chunk (w->c, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, start, sizeof start,
                     w->buffer, r->length);
}

/* A simple reply has no place for an error behind its header: the connection ends then. */
static gboolean
read_simple (Worker *w, Request *r)
{
  guint64 at = r->offset, end = r->offset + r->length;
  guint32 length = MIN (r->length, PIECE);
  guint8 header[16];
  struct iovec pieces[] = {{header, sizeof header}, {w->buffer, length}};
  gboolean ok;

  if (!read_disk (w, r, at, length, w->buffer))
    return send_result (w->c, r);
  put_simple (header, r);
  g_mutex_lock (&w->c->send_lock);
  ok = h2k_nbd_send (w->c, pieces, G_N_ELEMENTS (pieces));
  while (ok && (at += length) < end)
    {
      struct iovec piece = {w->buffer, 0};

      piece.iov_len = length = (guint32)MIN (end - at, PIECE);
      ok = read_disk (w, r, at, length, w->buffer);
      if (ok)
        ok = h2k_nbd_send (w->c, &piece, 1);
      else
        h2k_nbd_hang_up (w->c);
    }
  g_mutex_unlock (&w->c->send_lock);
  return ok;
}

static gboolean
answer_read (Worker *w, Request *r)
{
  if (!w->c->structured)
    return read_simple (w, r);
  return r->flags & NBD_CMD_FLAG_DF ? read_unfragmented (w, r) : read_structured (w, r);
}

/* What is read once comes faster the next time, from a local file at least. */
static gboolean
answer_cache (Worker *w, Request *r)
{
  guint64 end = r->offset + r->length;
  guint32 length;

  for (guint64 at = r->offset; at < end; at += length)
    {
      length = (guint32)MIN (end - at, PIECE);
      if (!read_disk (w, r, at, length, w->buffer))
        break;
    }
  return send_result (w->c, r);
}

/* --- what is allocated ------------------------------------------------------------------------ */

static guint32
state_of (H2kExtentKind kind)
{
  static const guint8 states[] = {
      [H2K_EXTENT_DATA] = 0,
      [H2K_EXTENT_ZERO] = NBD_STATE_ZERO,
      [H2K_EXTENT_UNALLOCATED] = NBD_STATE_HOLE | NBD_STATE_ZERO,
  };

  return states[kind];
}

/* Fill OUT with descriptors of 8 bytes; returns how many. There are fewer than the range has when
 * that takes too long or something cannot be found out; none: R has the error. */
static guint
find_status (Worker *w, Request *r, guint8 *out, guint most)
{
  guint64 end = r->offset + r->length;
  H2kExtent extent, run = {r->offset, 0, H2K_EXTENT_DATA};
  guint count = 0;

  for (guint i = 0; i < STATUS_QUESTIONS && run.offset + run.length < end; i++)
    {
      GError *error = NULL;

      if (!h2k_disk_extent (w->c->server->disk, run.offset + run.length, end, &extent, &error))
        {
          if (count == 0 && run.length == 0)
            take_error (w, r, error);
          else
            g_error_free (error);
          break;
        }
      if (run.length && state_of (extent.kind) != state_of (run.kind))
        {
          out = h2k_nbd_put32 (h2k_nbd_put32 (out, (guint32)run.length), state_of (run.kind));
          run.length = 0;
          if (++count == most)
            break;
        }
      if (run.length == 0)
        run = extent;
      else
        run.length += extent.length;
    }
  if (run.length)
    {
      h2k_nbd_put32 (h2k_nbd_put32 (out, (guint32)run.length), state_of (run.kind));
      count++;
    }
  return count;
}

static gboolean
answer_status (Worker *w, Request *r)
{
  guint most = r->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_STATUS;
  guint count = find_status (w, r, w->buffer, most);
  guint8 start[4];

  if (count == 0)
    return send_result (w->c, r);
  h2k_nbd_put32 (start, CONTEXT_ID);
  return send_chunk (w->c, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS, start, sizeof start,
                     w->buffer, count * (gsize)8);
}

/* --- writing ---------------------------------------------------------------------------------- */

static gboolean
write_disk (Worker *w, Request *r, guint64 offset, guint32 length)
{
  GError *error = NULL;

  if (h2k_disk_pwrite (w->c->server->disk, offset, length, w->buffer, &error))
    return TRUE;
  take_error (w, r, error);
  return FALSE;
}

/* Take what follows the header of a write. All but the last piece is written at once; after an
 * error the rest is dropped. FALSE: the client is gone. */
static gboolean
take_payload (Worker *w, Request *r)
{
  guint64 at = r->offset;
  guint32 left = r->length;

  while (!r->error && left > PIECE)
    {
      if (!h2k_nbd_receive (w->c, w->buffer, PIECE))
        return FALSE;
      write_disk (w, r, at, PIECE);
      at += PIECE;
      left -= PIECE;
    }
  return r->error ? h2k_nbd_skip (w->c, left) : h2k_nbd_receive (w->c, w->buffer, left);
}

/* Send the result of a change, which is there to stay when that was asked for. */
static gboolean
finish_change (Worker *w, Request *r)
{
  GError *error = NULL;

  if (!r->error && (r->flags & NBD_CMD_FLAG_FUA || r->type == NBD_CMD_FLUSH)
      && !h2k_disk_flush (w->c->server->disk, &error))
    take_error (w, r, error);
  return send_result (w->c, r);
}

/* The last piece, which is in the buffer. */
static gboolean
answer_write (Worker *w, Request *r)
{
  guint32 length = (r->length - 1) % PIECE + 1;

  write_disk (w, r, r->offset + r->length - length, length);
  return finish_change (w, r);
}

/* Also for NBD_CMD_TRIM: what nobody needs any more may read as zeros, and takes no place then. For
 * NBD_CMD_FLAG_NO_HOLE there is nothing to be done: an overlay cannot reserve space. */
static gboolean
answer_zero (Worker *w, Request *r)
{
  GError *error = NULL;

  if (!h2k_disk_zero (w->c->server->disk, r->offset, r->length, &error))
    take_error (w, r, error);
  return finish_change (w, r);
}

/* --- requests --------------------------------------------------------------------------------- */

static const Command commands[] = {
    [NBD_CMD_READ] = {NBD_CMD_FLAG_DF, FALSE, TRUE, NBD_MAX_REQUEST, NBD_EINVAL, answer_read},
    [NBD_CMD_WRITE] = {0, TRUE, TRUE, NBD_MAX_REQUEST, NBD_ENOSPC, answer_write},
    [NBD_CMD_FLUSH] = {0, FALSE, FALSE, 0, NBD_EINVAL, finish_change},
    [NBD_CMD_TRIM] = {0, TRUE, TRUE, 0, NBD_EINVAL, answer_zero},
    [NBD_CMD_CACHE] = {0, FALSE, TRUE, NBD_MAX_REQUEST, NBD_EINVAL, answer_cache},
    [NBD_CMD_WRITE_ZEROES]
    = {NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO, TRUE, TRUE, 0, NBD_ENOSPC, answer_zero},
    [NBD_CMD_BLOCK_STATUS] = {NBD_CMD_FLAG_REQ_ONE, FALSE, TRUE, 0, NBD_EINVAL, answer_status},
};

static const Command *
find_command (const Request *r)
{
  return r->type < G_N_ELEMENTS (commands) && commands[r->type].answer ? &commands[r->type] : NULL;
}

static void
check_range (const NbdConnection *c, const Command *command, Request *r)
{
  guint64 size = c->server->disk->size;

  if (!command->has_range)
    {
      if (r->offset || r->length)
        refuse (r, NBD_EINVAL, "offset and length have to be zero");
    }
  else if (r->length == 0)
    refuse (r, NBD_EINVAL, "the length must not be zero");
  else if (r->flags & NBD_CMD_FLAG_DF && r->length > PIECE)
    refuse (r, NBD_EOVERFLOW, "this is too much for one chunk");
  else if (command->longest && r->length > command->longest)
    refuse (r, NBD_EINVAL, "the length is more than the largest block size");
  else if (r->offset > size || r->length > size - r->offset)
    refuse (r, command->past_end, "the export ends before the end of the range");
}

/* Whether the request may be made; R gets the error if not. */
static void
check (const NbdConnection *c, Request *r)
{
  const Command *command = find_command (r);
  guint16 valid = NBD_CMD_FLAG_FUA | (command ? command->flags : 0);

  if (!c->structured)
    valid &= (guint16)~NBD_CMD_FLAG_DF;
  if (g_atomic_int_get (&c->server->stopping))
    refuse (r, NBD_ESHUTDOWN, "the server is ending");
  else if (!command)
    refuse (r, NBD_EINVAL, "the command is not known");
  else if (r->flags & ~valid)
    refuse (r, NBD_EINVAL, "a flag is not valid for this command");
  else if (command->writes && !c->server->writable)
    refuse (r, NBD_EPERM, "the export is read-only");
  else if (r->type == NBD_CMD_BLOCK_STATUS && !c->has_status)
    refuse (r, NBD_EINVAL, "no metadata context was negotiated");
  else if (r->flags & NBD_CMD_FLAG_FAST_ZERO && !c->server->disk->ops->zero)
    refuse (r, NBD_ENOTSUP, "zeros are as slow as data here");
  else
    check_range (c, command, r);
}

/* Take the next request, with the payload that belongs to it. FALSE: there is none any more. */
static gboolean
receive_request (Worker *w, Request *r)
{
  guint8 header[REQUEST_HEADER];

  if (!h2k_nbd_receive (w->c, header, sizeof header) || h2k_be32 (header) != NBD_REQUEST_MAGIC)
    return FALSE;
  *r = (Request){
      .flags = h2k_be16 (header + 4),
      .type = h2k_be16 (header + 6),
      .cookie = h2k_be64 (header + 8),
      .offset = h2k_be64 (header + 16),
      .length = h2k_be32 (header + 24),
  };
  if (r->type == NBD_CMD_DISC)
    return FALSE;
  check (w->c, r);
  return r->type != NBD_CMD_WRITE || take_payload (w, r);
}

/* One thread at a time; while it does something about its request, another one reads the next. */
static gboolean
next_request (Worker *w, Request *r)
{
  NbdConnection *c = w->c;
  gboolean ok;

  g_atomic_int_inc (&c->waiting);
  g_mutex_lock (&c->read_lock);
  g_atomic_int_add (&c->waiting, -1);
  ok = !c->ended && receive_request (w, r);
  c->ended = !ok;
  if (ok)
    g_atomic_int_inc (&c->server->requests);
  if (ok && g_atomic_int_get (&c->waiting) == 0)
    h2k_nbd_add_helper (c);
  g_mutex_unlock (&c->read_lock);
  return ok;
}

void
h2k_nbd_transmit (NbdConnection *c)
{
  g_autofree guint8 *buffer = g_malloc (PIECE);
  Worker worker = {c, buffer, {0, 0, H2K_EXTENT_DATA}};
  Request request;
  gboolean ok = TRUE;

  while (ok && next_request (&worker, &request))
    ok = request.error ? send_result (c, &request)
                       : find_command (&request)->answer (&worker, &request);
  /* A client that takes no replies has nothing more to ask, though requests may still be there:
   * from here on no thread is added. Whoever is reading finds the end, since the connection was
   * hung up. */
  g_mutex_lock (&c->read_lock);
  c->ended = TRUE;
  g_mutex_unlock (&c->read_lock);
}
