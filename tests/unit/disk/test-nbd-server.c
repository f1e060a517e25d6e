/* test-nbd-server.c - the NBD server: libnbd as a client that keeps to the protocol, bytes by hand
 * as one that does not, disks that fail and stall.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/nbd-protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <libnbd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((gsize)1 << 20)
#define SIZE (40 * MIB + 777)
#define STATUS "base:allocation"

/* --- disks ------------------------------------------------------------------------------------ */

/* Content of data and holes; CONTENT gets the same. */
static H2kDisk *
make_base (guint8 *content, guint32 seed)
{
  H2kDisk *disk = h2k_memory_disk_new (SIZE);
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);

  for (guint i = 0; i < 40; i++)
    {
      gsize at = g_rand_int (rand) % SIZE, n = MIN (SIZE - at, g_rand_int (rand) % 300000 + 1);
      for (gsize k = 0; k < n; k++)
        content[at + k] = (guint8)(g_rand_int (rand) | 1);
      g_assert_true (h2k_disk_pwrite (disk, at, n, content + at, NULL));
    }
  return disk;
}

/* A disk that fails in [BAD, BAD + 1 MiB), and waits in [SLOW, SLOW + 1 MiB) until it is let go or
 * the read is cancelled. */
#define BAD (4 * MIB)
#define SLOW (8 * MIB)

typedef struct
{
  H2kDisk disk;
  GMutex lock;
  GCond changed;
  gboolean go;
  guint waiting;
  int flushes;
} TroubleDisk;

static gboolean
fail (H2kError code, GError **error)
{
  g_set_error_literal (error, H2K_ERROR, code, "the disk is out of order");
  return FALSE;
}

static gboolean
touches (guint64 offset, guint64 length, guint64 place)
{
  return offset < place + MIB && offset + length > place;
}

static gboolean
trouble_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  TroubleDisk *t = (TroubleDisk *)disk;
  gboolean cancelled = FALSE;

  memset (buffer, 'x', length);
  if (touches (offset, length, BAD))
    return fail (H2K_ERROR_SOURCE, error);
  if (!touches (offset, length, SLOW))
    return TRUE;
  g_mutex_lock (&t->lock);
  t->waiting++;
  g_cond_broadcast (&t->changed);
  while (!t->go && !cancelled)
    {
      g_cond_wait_until (&t->changed, &t->lock, g_get_monotonic_time () + G_TIME_SPAN_MILLISECOND);
      cancelled = g_cancellable_is_cancelled (g_cancellable_get_current ());
    }
  t->waiting--;
  g_mutex_unlock (&t->lock);
  return !cancelled || fail (H2K_ERROR_CANCELLED, error);
}

static gboolean
trouble_pwrite (H2kDisk *disk, guint64 offset, gsize length, const void *buffer, GError **error)
{
  return !touches (offset, length, BAD) || fail (H2K_ERROR_NO_SPACE, error);
}

static gboolean
trouble_flush (H2kDisk *disk, GError **error)
{
  g_atomic_int_inc (&((TroubleDisk *)disk)->flushes);
  return TRUE;
}

static void
trouble_finalize (H2kDisk *disk)
{
  g_mutex_clear (&((TroubleDisk *)disk)->lock);
  g_cond_clear (&((TroubleDisk *)disk)->changed);
}

static const H2kDiskOps trouble_ops = {
    .pread = trouble_pread,
    .pwrite = trouble_pwrite,
    .flush = trouble_flush,
    .finalize = trouble_finalize,
};

static TroubleDisk *
make_trouble (void)
{
  TroubleDisk *t = g_new0 (TroubleDisk, 1);

  h2k_disk_init (&t->disk, &trouble_ops, SIZE, "trouble", "trouble disk");
  g_mutex_init (&t->lock);
  g_cond_init (&t->changed);
  return t;
}

/* --- servers and clients ---------------------------------------------------------------------- */

typedef struct
{
  guint8 *content; /* what the disk should hold */
  H2kDisk *base, *disk;
  H2kNbdServer *server;
} Fixture;

static void
set_up (Fixture *f, gconstpointer writable)
{
  H2kNbdServerOptions options = {.description = "a disk", .writable = writable != NULL};
  g_autoptr (GError) error = NULL;

  f->content = g_malloc0 (SIZE);
  f->base = make_base (f->content, 1);
  f->disk = h2k_overlay_new (f->base, NULL, 64 * MIB);
  f->server = h2k_nbd_server_new (f->disk, &options);
  h2k_nbd_server_listen_unix (f->server, NULL, &error);
  g_assert_no_error (error);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  h2k_nbd_server_free (f->server);
  h2k_disk_unref (f->disk);
  h2k_disk_unref (f->base);
  g_free (f->content);
}

static H2kNbdServer *
serve_trouble (TroubleDisk *t)
{
  H2kNbdServerOptions options = {.writable = TRUE};
  H2kNbdServer *server = h2k_nbd_server_new (&t->disk, &options);
  g_autoptr (GError) error = NULL;

  h2k_nbd_server_listen_unix (server, NULL, &error);
  g_assert_no_error (error);
  h2k_disk_unref (&t->disk);
  return server;
}

#define check_nbd(call)                                                                            \
  do                                                                                               \
    if ((call) < 0)                                                                                \
      g_error ("%s: %s", #call, nbd_get_error ());                                                 \
  while (0)

static struct nbd_handle *
connect_client (H2kNbdServer *server, gboolean structured)
{
  struct nbd_handle *h = nbd_create ();

  g_assert_nonnull (h);
  nbd_set_strict_mode (h, 0);
  nbd_set_request_structured_replies (h, structured);
  nbd_add_meta_context (h, STATUS);
  check_nbd (nbd_connect_uri (h, h2k_nbd_server_uri (server)));
  return h;
}

static void
assert_errno (int result, int err)
{
  g_assert_cmpint (result, ==, -1);
  g_assert_cmpint (nbd_get_errno (), ==, err);
}

/* --- keeping to the protocol ------------------------------------------------------------------ */

static int
count_list (void *data, const char *name, const char *description)
{
  g_assert_cmpstr (name, ==, "");
  g_assert_cmpstr (description, ==, "a disk");
  ++*(guint *)data;
  return 0;
}

static int
count_context (void *data, const char *name)
{
  g_assert_cmpstr (name, ==, STATUS);
  ++*(guint *)data;
  return 0;
}

static void
test_negotiation (Fixture *f, gconstpointer data)
{
  struct nbd_handle *h = nbd_create ();
  guint exports = 0, contexts = 0;

  nbd_set_opt_mode (h, true);
  nbd_set_full_info (h, true);
  nbd_add_meta_context (h, STATUS);
  check_nbd (nbd_connect_uri (h, h2k_nbd_server_uri (f->server)));
  g_assert_cmpint (nbd_opt_list (h, (nbd_list_callback){.callback = count_list,
                                                        .user_data = &exports}),
                   ==, 1);
  g_assert_cmpint (nbd_opt_list_meta_context (h, (nbd_context_callback){.callback = count_context,
                                                                        .user_data = &contexts}),
                   ==, 1);
  g_assert_cmpuint (exports, ==, 1);
  g_assert_cmpuint (contexts, ==, 1);
  check_nbd (nbd_opt_info (h));
  g_assert_cmpint (nbd_get_size (h), ==, SIZE);
  nbd_set_export_name (h, "other");
  assert_errno (nbd_opt_info (h), ENOENT);
  assert_errno (nbd_opt_go (h), ENOENT);
  nbd_set_export_name (h, "");
  check_nbd (nbd_opt_go (h));

  g_assert_cmpstr (nbd_get_protocol (h), ==, "newstyle-fixed");
  g_assert_cmpint (nbd_get_structured_replies_negotiated (h), ==, 1);
  g_assert_cmpint (nbd_get_size (h), ==, SIZE);
  g_assert_cmpint (nbd_get_block_size (h, LIBNBD_SIZE_MINIMUM), ==, 1);
  g_assert_cmpint (nbd_get_block_size (h, LIBNBD_SIZE_PREFERRED), ==, 4096);
  g_assert_cmpint (nbd_get_block_size (h, LIBNBD_SIZE_MAXIMUM), ==, 32 * MIB);
  g_assert_cmpint (nbd_is_read_only (h), ==, data == NULL);
  g_assert_cmpint (nbd_can_trim (h), ==, data != NULL);
  g_assert_cmpint (nbd_can_zero (h), ==, data != NULL);
  g_assert_cmpint (nbd_can_fast_zero (h), ==, data != NULL);
  g_assert_cmpint (nbd_can_flush (h), ==, 1);
  g_assert_cmpint (nbd_can_fua (h), ==, 1);
  g_assert_cmpint (nbd_can_df (h), ==, 1);
  g_assert_cmpint (nbd_can_cache (h), ==, 1);
  g_assert_cmpint (nbd_can_multi_conn (h), ==, 1);
  g_assert_cmpint (nbd_can_meta_context (h, STATUS), ==, 1);
  check_nbd (nbd_shutdown (h, 0));
  nbd_close (h);

  h = nbd_create ();
  nbd_set_export_name (h, "other");
  assert_errno (nbd_connect_unix (h, h2k_nbd_server_socket (f->server)), ENOENT);
  nbd_close (h);
}

typedef struct
{
  guint data, holes, errors;
  guint64 hole_bytes, error_offset;
} Chunks;

static int
count_chunk (void *user_data, const void *data, size_t length, uint64_t offset, unsigned status,
             int *err)
{
  Chunks *chunks = user_data;

  chunks->data += status == LIBNBD_READ_DATA;
  chunks->holes += status == LIBNBD_READ_HOLE;
  chunks->errors += status == LIBNBD_READ_ERROR;
  if (status == LIBNBD_READ_HOLE)
    chunks->hole_bytes += length;
  if (status == LIBNBD_READ_ERROR)
    chunks->error_offset = offset;
  return 0;
}

static int
pread_chunks (struct nbd_handle *h, void *buffer, gsize length, guint64 offset, guint32 flags,
              Chunks *chunks)
{
  memset (chunks, 0, sizeof *chunks);
  return nbd_pread_structured (h, buffer, length, offset,
                               (nbd_chunk_callback){.callback = count_chunk, .user_data = chunks},
                               flags);
}

/* Random places, from one byte to 32 MiB, each way of reply. */
static void
test_reading (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *buffer = g_malloc (32 * MIB);
  g_autoptr (GRand) rand = g_rand_new_with_seed (3);
  struct nbd_handle *plain = connect_client (f->server, FALSE);
  struct nbd_handle *h = connect_client (f->server, TRUE);
  guint holes = 0;

  g_assert_cmpint (nbd_get_structured_replies_negotiated (plain), ==, 0);
  g_assert_cmpint (nbd_can_df (plain), ==, 0);
  for (guint i = 0; i < 120; i++)
    {
      gsize most = i % 20 ? 3 * MIB >> g_rand_int (rand) % 22 : 32 * MIB;
      gsize n = MAX (most - g_rand_int (rand) % 100, 1) % most + 1;
      guint64 at = g_rand_int (rand) % (SIZE - n + 1);
      Chunks chunks;

      memset (buffer, 0xee, n);
      check_nbd (pread_chunks (h, buffer, n, at, 0, &chunks));
      g_assert_cmpmem (buffer, n, f->content + at, n);
      holes += chunks.holes;
      memset (buffer, 0xee, n);
      check_nbd (nbd_pread (plain, buffer, n, at, 0));
      g_assert_cmpmem (buffer, n, f->content + at, n);
      check_nbd (nbd_cache (h, n, at, 0));
      if (n <= MIB)
        {
          check_nbd (pread_chunks (h, buffer, n, at, LIBNBD_CMD_FLAG_DF, &chunks));
          g_assert_cmpuint (chunks.data + chunks.holes, ==, 1);
          g_assert_cmpmem (buffer, n, f->content + at, n);
        }
    }
  g_assert_cmpuint (holes, >, 10);
  nbd_close (h);
  nbd_close (plain);
}

typedef struct
{
  const guint8 *content;
  guint64 end, offset;
  guint zeros, count;
} Status;

static int
take_status (void *user_data, const char *context, uint64_t offset, uint32_t *entries, size_t count,
             int *err)
{
  Status *status = user_data;

  g_assert_cmpuint (offset, ==, status->offset);
  for (size_t i = 0; i < count; i += 2)
    {
      g_assert_cmpuint (entries[i], >, 0);
      g_assert_cmpuint (entries[i], <=, status->end - status->offset);
      g_assert_cmpuint (entries[i + 1], <=, 3);
      if (i)
        g_assert_cmpuint (entries[i + 1], !=, entries[i - 1]);
      if (entries[i + 1] & LIBNBD_STATE_ZERO)
        {
          g_assert_true (h2k_is_zero (status->content + status->offset, entries[i]));
          status->zeros += entries[i];
        }
      status->offset += entries[i];
      status->count++;
    }
  return 0;
}

/* What the server says of a range; returns how many bytes of it are said to be zeros. */
static guint
check_status (Fixture *f, struct nbd_handle *h, guint64 offset, guint64 length, guint32 flags)
{
  Status status = {f->content, offset + length, offset, 0, 0};

  while (status.offset < status.end)
    {
      status.count = 0;
      check_nbd (
          nbd_block_status (h, status.end - status.offset, status.offset,
                            (nbd_extent_callback){.callback = take_status, .user_data = &status},
                            flags));
      g_assert_cmpuint (status.count, >, 0);
      if (flags)
        g_assert_cmpuint (status.count, ==, 1);
    }
  return status.zeros;
}

static void
test_extents (Fixture *f, gconstpointer data)
{
  struct nbd_handle *h = connect_client (f->server, TRUE);
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  guint64 zeros = 0;
  H2kExtent extent;

  for (guint64 at = 0; at < SIZE; at += extent.length)
    {
      g_assert_true (h2k_disk_extent (f->disk, at, SIZE, &extent, NULL));
      zeros += extent.kind != H2K_EXTENT_DATA ? extent.length : 0;
    }
  g_assert_cmpuint (zeros, >, SIZE / 4);
  g_assert_cmpuint (check_status (f, h, 0, SIZE, 0), ==, zeros);
  g_assert_cmpuint (check_status (f, h, 0, SIZE, LIBNBD_CMD_FLAG_REQ_ONE), ==, zeros);
  for (guint i = 0; i < 50; i++)
    {
      guint64 at = g_rand_int (rand) % SIZE;
      check_status (f, h, at, g_rand_int (rand) % (SIZE - at) + 1, 0);
    }
  nbd_close (h);
}

/* --- writing ---------------------------------------------------------------------------------- */

/* One change, of the disk and of what it should hold. */
static void
change (Fixture *f, struct nbd_handle *h, GRand *rand, guint8 *buffer)
{
  static const guint32 zero_flags[]
      = {0, LIBNBD_CMD_FLAG_NO_HOLE, LIBNBD_CMD_FLAG_FAST_ZERO, LIBNBD_CMD_FLAG_FUA};
  gsize n = g_rand_int (rand) % ((3 * MIB) >> g_rand_int (rand) % 22) + 1;
  guint64 at = g_rand_int (rand) % (SIZE - n + 1);
  guint fua = g_rand_boolean (rand) ? LIBNBD_CMD_FLAG_FUA : 0;

  switch (g_rand_int (rand) % 4)
    {
    case 0:
      check_nbd (nbd_zero (h, n, at, zero_flags[g_rand_int (rand) % 4]));
      memset (f->content + at, 0, n);
      break;
    case 1:
      check_nbd (nbd_trim (h, n, at, fua));
      memset (f->content + at, 0, n); /* what this server makes of it */
      break;
    default:
      memset (buffer, g_rand_int (rand) % 256, n);
      check_nbd (nbd_pwrite (h, buffer, n, at, fua));
      memcpy (f->content + at, buffer, n);
    }
}

static void
test_writing (Fixture *f, gconstpointer data)
{
  struct nbd_handle *clients[] = {
      connect_client (f->server, TRUE),
      connect_client (f->server, FALSE),
      connect_client (f->server, TRUE),
  };
  g_autofree guint8 *buffer = g_malloc (33 * MIB), *before = g_malloc (SIZE);
  g_autoptr (GRand) rand = g_rand_new_with_seed (7);

  g_assert_true (h2k_disk_pread (f->base, 0, SIZE, before, NULL));
  for (guint i = 0; i < 400; i++)
    {
      gsize n = g_rand_int (rand) % 70000 + 1;
      guint64 at = g_rand_int (rand) % (SIZE - n);

      change (f, clients[i % 3], rand, buffer);
      /* Another one sees it. */
      check_nbd (nbd_pread (clients[(i + 1) % 3], buffer, n, at, 0));
      g_assert_cmpmem (buffer, n, f->content + at, n);
    }
  /* The largest one, which comes in pieces. */
  memset (buffer, 0x5a, 32 * MIB);
  check_nbd (nbd_pwrite (clients[1], buffer, 32 * MIB, 12345, 0));
  memcpy (f->content + 12345, buffer, 32 * MIB);
  check_nbd (nbd_zero (clients[0], 5 * MIB, 10 * MIB, 0));
  memset (f->content + 10 * MIB, 0, 5 * MIB);
  check_nbd (nbd_flush (clients[0], 0));
  for (gsize at = 0; at < SIZE; at += 8 * MIB)
    {
      gsize n = MIN (SIZE - at, 8 * MIB);
      check_nbd (nbd_pread (clients[2], buffer, n, at, 0));
      g_assert_cmpmem (buffer, n, f->content + at, n);
    }
  g_assert_cmpuint (check_status (f, clients[0], 0, SIZE, 0), >=, 5 * MIB - 2 * 4096);
  for (guint i = 0; i < 3; i++)
    nbd_close (clients[i]);

  for (gsize at = 0; at < SIZE; at += 8 * MIB)
    {
      gsize n = MIN (SIZE - at, 8 * MIB);
      g_assert_true (h2k_disk_pread (f->base, at, n, buffer, NULL));
      g_assert_cmpmem (buffer, n, before + at, n);
    }
}

/* --- several at once -------------------------------------------------------------------------- */

#define IN_FLIGHT 24
#define STRIPE ((gsize)200000)

typedef struct
{
  H2kNbdServer *server;
  guint8 *content; /* from OFFSET on, the thread's own part */
  guint64 offset;
  guint number;
} Stripe;

/* Writes with many requests under way, then reads it back in the same manner. */
static gpointer
work_on_stripe (gpointer data)
{
  Stripe *s = data;
  struct nbd_handle *h = connect_client (s->server, s->number % 2);
  g_autofree guint8 *read = g_malloc0 (IN_FLIGHT * STRIPE);
  gint64 cookies[IN_FLIGHT];

  for (guint round = 0; round < 4; round++)
    {
      for (gsize i = 0; i < IN_FLIGHT * STRIPE; i++)
        s->content[i] = (guint8)(i * 7 + i / STRIPE + s->number * 31 + round);
      for (guint pass = 0; pass < 2; pass++)
        {
          for (guint i = 0; i < IN_FLIGHT; i++)
            cookies[i] = pass ? nbd_aio_pread (h, read + i * STRIPE, STRIPE, s->offset + i * STRIPE,
                                               NBD_NULL_COMPLETION, 0)
                              : nbd_aio_pwrite (h, s->content + i * STRIPE, STRIPE,
                                                s->offset + i * STRIPE, NBD_NULL_COMPLETION, 0);
          for (guint i = 0; i < IN_FLIGHT; i++)
            {
              int completed;
              while ((completed = nbd_aio_command_completed (h, (guint64)cookies[i])) == 0)
                check_nbd (nbd_poll (h, -1));
              check_nbd (completed);
            }
        }
      g_assert_cmpmem (read, IN_FLIGHT * STRIPE, s->content, IN_FLIGHT * STRIPE);
    }
  check_nbd (nbd_shutdown (h, 0));
  nbd_close (h);
  return NULL;
}

static void
test_concurrency (Fixture *f, gconstpointer data)
{
  GThread *threads[6];
  Stripe stripes[6];
  g_autofree guint8 *got = g_malloc (IN_FLIGHT * STRIPE);

  for (guint i = 0; i < 6; i++)
    {
      guint64 offset = i * IN_FLIGHT * STRIPE + 100;
      stripes[i] = (Stripe){f->server, f->content + offset, offset, i};
      threads[i] = g_thread_new ("stripe", work_on_stripe, &stripes[i]);
    }
  for (guint i = 0; i < 6; i++)
    g_thread_join (threads[i]);
  for (guint i = 0; i < 6; i++)
    {
      g_assert_true (h2k_disk_pread (f->disk, stripes[i].offset, IN_FLIGHT * STRIPE, got, NULL));
      g_assert_cmpmem (got, IN_FLIGHT * STRIPE, stripes[i].content, IN_FLIGHT * STRIPE);
    }
}

/* A request that takes long holds up neither those behind it nor other clients. */
static void
test_out_of_order (void)
{
  TroubleDisk *t = make_trouble ();
  g_autoptr (H2kNbdServer) server = serve_trouble (t);
  struct nbd_handle *h = connect_client (server, TRUE), *other = connect_client (server, TRUE);
  guint8 slow[4096], fast[4096];
  gint64 cookie = nbd_aio_pread (h, slow, sizeof slow, SLOW, NBD_NULL_COMPLETION, 0);
  int completed;

  g_assert_cmpint (cookie, >=, 0);
  for (guint i = 0; i < 20; i++)
    check_nbd (nbd_pread (h, fast, sizeof fast, i * sizeof fast, 0));
  check_nbd (nbd_pread (other, fast, sizeof fast, 0, 0));
  g_assert_cmpint (nbd_aio_command_completed (h, (guint64)cookie), ==, 0);
  g_mutex_lock (&t->lock);
  g_assert_cmpuint (t->waiting, ==, 1);
  t->go = TRUE;
  g_cond_broadcast (&t->changed);
  g_mutex_unlock (&t->lock);
  while ((completed = nbd_aio_command_completed (h, (guint64)cookie)) == 0)
    check_nbd (nbd_poll (h, -1));
  check_nbd (completed);
  nbd_close (h);
  nbd_close (other);
}

/* --- errors ----------------------------------------------------------------------------------- */

/* The disk's errors are the user's to know, too. */
static int warnings;

static GLogWriterOutput
count_warning (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  for (gsize i = 0; i < n; i++)
    if (g_str_equal (fields[i].key, "MESSAGE") && strstr (fields[i].value, "out of order"))
      g_atomic_int_inc (&warnings);
  return G_LOG_WRITER_HANDLED;
}

static void
test_disk_errors (void)
{
  TroubleDisk *t = make_trouble ();
  g_autoptr (H2kNbdServer) server = serve_trouble (t);
  struct nbd_handle *h = connect_client (server, TRUE), *plain = connect_client (server, FALSE);
  g_autofree guint8 *buffer = g_malloc (8 * MIB);
  Chunks chunks;

  assert_errno (pread_chunks (h, buffer, 4 * MIB, BAD - 2 * MIB, 0, &chunks), EIO);
  g_assert_cmpuint (chunks.data, ==, 2);
  g_assert_cmpuint (chunks.errors, ==, 1);
  g_assert_cmpuint (chunks.error_offset, ==, BAD);
  assert_errno (nbd_pread (plain, buffer, 512, BAD, 0), EIO);
  assert_errno (nbd_cache (h, 4 * MIB, BAD - MIB, 0), EIO);
  assert_errno (nbd_pwrite (h, buffer, 8 * MIB, 0, 0), ENOSPC);
  assert_errno (nbd_pwrite (plain, buffer, 1, BAD + MIB - 1, 0), ENOSPC);
  assert_errno (nbd_zero (plain, 5, BAD, 0), ENOSPC);
  assert_errno (nbd_zero (plain, 5, BAD, LIBNBD_CMD_FLAG_FAST_ZERO), ENOTSUP);
  /* Both go on. */
  check_nbd (nbd_pread (h, buffer, 4 * MIB, 0, 0));
  check_nbd (nbd_pread (plain, buffer, 4 * MIB, 0, 0));
  /* What cannot be said any more ends the connection, that one alone. */
  g_assert_cmpint (nbd_pread (plain, buffer, 4 * MIB, BAD - 2 * MIB, 0), ==, -1);
  g_assert_cmpint (nbd_pread (plain, buffer, 512, 0, 0), ==, -1);
  check_nbd (nbd_pread (h, buffer, 512, 0, 0));
  g_assert_cmpint (g_atomic_int_get (&warnings), ==, 7);

  g_assert_cmpint (g_atomic_int_get (&t->flushes), ==, 0);
  check_nbd (nbd_pwrite (h, buffer, 512, 0, LIBNBD_CMD_FLAG_FUA));
  g_assert_cmpint (g_atomic_int_get (&t->flushes), ==, 1);
  check_nbd (nbd_flush (h, 0));
  g_assert_cmpint (g_atomic_int_get (&t->flushes), ==, 2);
  nbd_close (h);
  nbd_close (plain);
}

static void
test_refused (Fixture *f, gconstpointer data)
{
  gboolean writable = data != NULL;

  for (guint structured = 0; structured < 2; structured++)
    {
      struct nbd_handle *h = connect_client (f->server, structured == 1);
      g_autofree guint8 *buffer = g_malloc0 (33 * MIB);

      assert_errno (nbd_pread (h, buffer, 2, SIZE - 1, 0), EINVAL);
      assert_errno (nbd_pread (h, buffer, 2, SIZE, 0), EINVAL);
      assert_errno (nbd_pread (h, buffer, 2, G_MAXINT64, 0), EINVAL);
      assert_errno (nbd_pread (h, buffer, 2, 0, 1 << 15), EINVAL);
      assert_errno (nbd_pread (h, buffer, 2, 0, LIBNBD_CMD_FLAG_REQ_ONE), EINVAL);
      assert_errno (nbd_pread (h, buffer, 33 * MIB, 0, 0), EINVAL);
      assert_errno (nbd_cache (h, 33 * MIB, 0, 0), EINVAL);
      assert_errno (nbd_cache (h, 2, SIZE - 1, 0), EINVAL);
      assert_errno (nbd_flush (h, LIBNBD_CMD_FLAG_DF), EINVAL);
      assert_errno (nbd_pwrite (h, buffer, 2, SIZE - 1, 0), writable ? ENOSPC : EPERM);
      assert_errno (nbd_pwrite (h, buffer, 33 * MIB, 0, 0), writable ? EINVAL : EPERM);
      assert_errno (nbd_pwrite (h, buffer, 512, 0, LIBNBD_CMD_FLAG_NO_HOLE), EINVAL);
      assert_errno (nbd_zero (h, 2, SIZE - 1, 0), writable ? ENOSPC : EPERM);
      assert_errno (nbd_trim (h, 2, SIZE - 1, 0), writable ? EINVAL : EPERM);
      assert_errno (nbd_trim (h, 2, 0, LIBNBD_CMD_FLAG_NO_HOLE), EINVAL);
      if (structured)
        {
          Status status = {0};
          Chunks chunks;

          assert_errno (pread_chunks (h, buffer, 2 * MIB, 0, LIBNBD_CMD_FLAG_DF, &chunks),
                        EOVERFLOW);
          assert_errno (nbd_block_status (h, 2, SIZE - 1,
                                          (nbd_extent_callback){.callback = take_status,
                                                                .user_data = &status},
                                          0),
                        EINVAL);
        }
      else
        assert_errno (nbd_pread (h, buffer, 2, 0, LIBNBD_CMD_FLAG_DF), EINVAL);
      /* Nothing of this was done, and the connection goes on. */
      check_nbd (nbd_pread (h, buffer, 32 * MIB, 0, 0));
      g_assert_cmpmem (buffer, 32 * MIB, f->content, 32 * MIB);
      nbd_close (h);
    }
}

/* --- breaking the protocol -------------------------------------------------------------------- */

static int
add_raw (H2kNbdServer *server)
{
  struct timeval patience = {.tv_sec = 20};
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  setsockopt (fds[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  g_assert_true (h2k_nbd_server_add (server, fds[0]));
  return fds[1];
}

static void
put (int fd, const void *data, gsize length)
{
  g_assert_cmpint (send (fd, data, length, MSG_NOSIGNAL), ==, (gssize)length);
}

static void
get (int fd, void *data, gsize length)
{
  g_assert_cmpint (recv (fd, data, length, MSG_WAITALL), ==, (gssize)length);
}

/* Everything that comes is read; the connection has to end. */
static void
assert_closed (int fd)
{
  guint8 buffer[4096];
  ssize_t n;

  while ((n = recv (fd, buffer, sizeof buffer, 0)) > 0)
    ;
  g_assert_true (n == 0 || errno == ECONNRESET);
  close (fd);
}

static void
hello (int fd, guint32 flags)
{
  guint8 greeting[18], answer[4];

  get (fd, greeting, sizeof greeting);
  g_assert_cmpmem (greeting, 16, "NBDMAGICIHAVEOPT", 16);
  g_assert_cmpuint (h2k_be16 (greeting + 16), ==, 3);
  h2k_nbd_put32 (answer, flags);
  put (fd, answer, sizeof answer);
}

static void
put_option (int fd, guint32 number, guint32 length, const void *data, gsize data_length)
{
  guint8 header[16];

  h2k_nbd_put32 (h2k_nbd_put32 (h2k_nbd_put64 (header, NBD_OPTION_MAGIC), number), length);
  put (fd, header, sizeof header);
  if (data_length)
    put (fd, data, data_length);
}

/* The next reply to an option; its data, the caller's, NUL-terminated. */
static char *
get_reply (int fd, guint32 number, guint32 type)
{
  guint8 header[20];
  guint32 length;
  char *data;

  get (fd, header, sizeof header);
  g_assert_cmphex (h2k_be64 (header), ==, NBD_OPTION_REPLY_MAGIC);
  g_assert_cmpuint (h2k_be32 (header + 8), ==, number);
  g_assert_cmphex (h2k_be32 (header + 12), ==, type);
  length = h2k_be32 (header + 16);
  g_assert_cmpuint (length, <=, 8192);
  data = g_malloc0 (length + 1);
  if (length)
    get (fd, data, length);
  return data;
}

static void
assert_reply (int fd, guint32 number, guint32 type)
{
  g_free (get_reply (fd, number, type));
}

static void
try_option (int fd, guint32 number, const void *data, gsize length, guint32 type)
{
  put_option (fd, number, (guint32)length, data, length);
  assert_reply (fd, number, type);
}

/* Options that are wrong get an answer, and the negotiation goes on. */
static void
test_bad_options (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint32 number;
    const char *data;
    gsize length;
    guint32 type;
  } cases[] = {
      {NBD_OPT_LIST, "x", 1, NBD_REP_ERR_INVALID},
      {NBD_OPT_STARTTLS, "", 0, NBD_REP_ERR_UNSUP},
      {NBD_OPT_STRUCTURED_REPLY, "x", 1, NBD_REP_ERR_INVALID},
      {0, "", 0, NBD_REP_ERR_UNSUP},
      {4, "abc", 3, NBD_REP_ERR_UNSUP},
      {11, "", 0, NBD_REP_ERR_UNSUP}, /* extended headers */
      {0xffffffff, "abcd", 4, NBD_REP_ERR_UNSUP},
      {NBD_OPT_INFO, "", 0, NBD_REP_ERR_INVALID},
      {NBD_OPT_GO, "\0\0\0", 3, NBD_REP_ERR_INVALID},
      {NBD_OPT_GO, "\0\0\0\0\0", 5, NBD_REP_ERR_INVALID},
      {NBD_OPT_GO, "\0\0\0\2\0\0\0", 7, NBD_REP_ERR_INVALID}, /* a name that is too short */
      {NBD_OPT_GO, "\xff\xff\xff\xff\0\0", 6, NBD_REP_ERR_INVALID},
      {NBD_OPT_GO, "\0\0\0\0\0\1", 6, NBD_REP_ERR_INVALID}, /* no kind of information */
      {NBD_OPT_GO, "\0\0\0\0\xff\xff\0\3", 8, NBD_REP_ERR_INVALID},
      {NBD_OPT_GO, "\0\0\0\0\0\0x", 7, NBD_REP_ERR_INVALID}, /* something behind it */
      {NBD_OPT_GO, "\0\0\0\1x\0\0", 7, NBD_REP_ERR_UNKNOWN},
      {NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\0\0\0\0", 8, NBD_REP_ERR_INVALID}, /* too early */
      {NBD_OPT_LIST_META_CONTEXT, "\0\0\0\0\0\0\0\0", 8, NBD_REP_ERR_INVALID},
      {NBD_OPT_STRUCTURED_REPLY, "", 0, NBD_REP_ACK},
      {NBD_OPT_STRUCTURED_REPLY, "", 0, NBD_REP_ACK},
      {NBD_OPT_SET_META_CONTEXT, "\0\0\0\0", 4, NBD_REP_ERR_INVALID},
      {NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\0\0\0\1", 8, NBD_REP_ERR_INVALID},
      {NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\xff\xff\xff\xff", 8, NBD_REP_ERR_INVALID},
      {NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\0\0\0\1\0\0\0\5base", 16, NBD_REP_ERR_INVALID},
      {NBD_OPT_SET_META_CONTEXT, "\0\0\0\1x\0\0\0\0", 9, NBD_REP_ERR_UNKNOWN},
      {NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\0\0\0\0", 8, NBD_REP_ACK}, /* nothing is selected */
      {NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\0\0\0\1\0\0\0\5base:", 17, NBD_REP_ACK},
      {NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\0\0\0\1\0\0\0\6qemu:x", 18, NBD_REP_ACK},
      {NBD_OPT_LIST_META_CONTEXT, "\0\0\0\0\0\0\0\1\0\0\0\6qemu:x", 18, NBD_REP_ACK},
  };
  int fd = add_raw (f->server);
  g_autofree guint8 *large = g_malloc0 (MIB), *name = g_malloc0 (6 + 5000);
  g_autofree char *context = NULL;

  hello (fd, 3);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    try_option (fd, cases[i].number, cases[i].data, cases[i].length, cases[i].type);
  h2k_nbd_put32 (name, 5000);
  try_option (fd, NBD_OPT_GO, name, 6 + 5000, NBD_REP_ERR_INVALID);
  try_option (fd, NBD_OPT_GO, large, 100000, NBD_REP_ERR_TOO_BIG);
  try_option (fd, 99, large, 60000, NBD_REP_ERR_UNSUP);

  put_option (fd, NBD_OPT_LIST_META_CONTEXT, 17, "\0\0\0\0\0\0\0\1\0\0\0\5base:", 17);
  context = get_reply (fd, NBD_OPT_LIST_META_CONTEXT, NBD_REP_META_CONTEXT);
  g_assert_cmpstr (context + 4, ==, STATUS);
  assert_reply (fd, NBD_OPT_LIST_META_CONTEXT, NBD_REP_ACK);
  try_option (fd, NBD_OPT_ABORT, "ignored", 7, NBD_REP_ACK);
  assert_closed (fd);
}

/* What cannot be answered ends the connection. */
static void
test_bad_handshakes (Fixture *f, gconstpointer data)
{
  guint8 zeros[200] = {0}, got[134];
  int fd = add_raw (f->server);

  close (fd); /* without a word */
  fd = add_raw (f->server);
  put (fd, "\0\0", 2);
  close (fd);
  fd = add_raw (f->server);
  hello (fd, 0x80000003); /* an unknown flag */
  assert_closed (fd);
  fd = add_raw (f->server);
  hello (fd, 3);
  put (fd, zeros, 16); /* no magic */
  assert_closed (fd);
  fd = add_raw (f->server);
  hello (fd, 3);
  put_option (fd, NBD_OPT_GO, 0xffffffff, NULL, 0); /* endless */
  assert_closed (fd);
  fd = add_raw (f->server);
  hello (fd, 3);
  put_option (fd, NBD_OPT_EXPORT_NAME, 5, "other", 5);
  assert_closed (fd);
  fd = add_raw (f->server);
  hello (fd, 3);
  put_option (fd, NBD_OPT_EXPORT_NAME, 70000, NULL, 0);
  assert_closed (fd);
  fd = add_raw (f->server);
  hello (fd, 0); /* does not know the fixed newstyle */
  put_option (fd, NBD_OPT_LIST, 0, NULL, 0);
  assert_closed (fd);
  fd = add_raw (f->server);
  hello (fd, 3);
  put_option (fd, NBD_OPT_GO, 50, zeros, 20); /* a part of it */
  close (fd);

  /* The oldest way that there is, with zeros and without. */
  for (guint32 flags = 0; flags < 3; flags += 2)
    {
      fd = add_raw (f->server);
      hello (fd, flags);
      put_option (fd, NBD_OPT_EXPORT_NAME, 0, NULL, 0);
      get (fd, got, flags ? 10 : 134);
      g_assert_cmpuint (h2k_be64 (got), ==, SIZE);
      g_assert_true (h2k_be16 (got + 8) & NBD_FLAG_HAS_FLAGS);
      g_assert_false (h2k_be16 (got + 8) & NBD_FLAG_SEND_DF);
      if (!flags)
        g_assert_true (h2k_is_zero (got + 10, 124));
      put (fd, "\x25\x60\x95\x13\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 28);
      assert_closed (fd);
    }
}

/* A client that uses the export. */
static int
add_user (H2kNbdServer *server, gboolean structured)
{
  int fd = add_raw (server);

  hello (fd, 3);
  if (structured)
    try_option (fd, NBD_OPT_STRUCTURED_REPLY, "", 0, NBD_REP_ACK);
  put_option (fd, NBD_OPT_GO, 6, "\0\0\0\0\0\0", 6);
  assert_reply (fd, NBD_OPT_GO, NBD_REP_INFO);
  assert_reply (fd, NBD_OPT_GO, NBD_REP_ACK);
  return fd;
}

static void
put_request (int fd, guint16 flags, guint16 type, guint64 cookie, guint64 offset, guint32 length)
{
  guint8 header[28], *p = h2k_nbd_put32 (header, NBD_REQUEST_MAGIC);

  p = h2k_nbd_put16 (h2k_nbd_put16 (p, flags), type);
  h2k_nbd_put32 (h2k_nbd_put64 (h2k_nbd_put64 (p, cookie), offset), length);
  put (fd, header, sizeof header);
}

static void
assert_simple (int fd, guint64 cookie, guint32 error)
{
  guint8 header[16];

  get (fd, header, sizeof header);
  g_assert_cmphex (h2k_be32 (header), ==, NBD_SIMPLE_REPLY_MAGIC);
  g_assert_cmpuint (h2k_be32 (header + 4), ==, error);
  g_assert_cmphex (h2k_be64 (header + 8), ==, cookie);
}

static void
assert_error (int fd, gboolean structured, guint64 cookie, guint32 error)
{
  guint8 header[20 + 6], text[4096];
  guint32 length;

  if (!structured)
    {
      assert_simple (fd, cookie, error);
      return;
    }
  get (fd, header, sizeof header);
  g_assert_cmphex (h2k_be32 (header), ==, NBD_STRUCTURED_REPLY_MAGIC);
  g_assert_cmpuint (h2k_be16 (header + 4), ==, NBD_REPLY_FLAG_DONE);
  g_assert_cmphex (h2k_be16 (header + 6), ==, NBD_REPLY_TYPE_ERROR);
  g_assert_cmphex (h2k_be64 (header + 8), ==, cookie);
  length = h2k_be32 (header + 16);
  g_assert_cmpuint (h2k_be32 (header + 20), ==, error);
  g_assert_cmpuint (h2k_be16 (header + 24), ==, length - 6);
  g_assert_cmpuint (length, <, sizeof text);
  get (fd, text, length - 6);
}

/* Asking for contexts anew drops those from before, also when that fails. */
static void
test_contexts (Fixture *f, gconstpointer data)
{
  static const char wanted[] = "\0\0\0\0\0\0\0\2\0\0\0\017base:allocation\0\0\0\017base:allocation";

  for (guint dropped = 0; dropped < 2; dropped++)
    {
      int fd = add_raw (f->server);
      guint8 chunk[20 + 4 + 8];

      hello (fd, 3);
      try_option (fd, NBD_OPT_STRUCTURED_REPLY, "", 0, NBD_REP_ACK);
      try_option (fd, NBD_OPT_SET_META_CONTEXT, wanted, sizeof wanted - 1, NBD_REP_META_CONTEXT);
      assert_reply (fd, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK);
      if (dropped)
        try_option (fd, NBD_OPT_SET_META_CONTEXT, "", 0, NBD_REP_ERR_INVALID);
      put_option (fd, NBD_OPT_GO, 6, "\0\0\0\0\0\0", 6);
      assert_reply (fd, NBD_OPT_GO, NBD_REP_INFO);
      assert_reply (fd, NBD_OPT_GO, NBD_REP_ACK);
      put_request (fd, NBD_CMD_FLAG_REQ_ONE, NBD_CMD_BLOCK_STATUS, 1, 0, 1);
      if (dropped)
        assert_error (fd, TRUE, 1, NBD_EINVAL);
      else
        {
          get (fd, chunk, sizeof chunk);
          g_assert_cmphex (h2k_be16 (chunk + 6), ==, NBD_REPLY_TYPE_BLOCK_STATUS);
          g_assert_cmpuint (h2k_be32 (chunk + 16), ==, 12);
          g_assert_cmpuint (h2k_be32 (chunk + 24), ==, 1);
        }
      close (fd);
    }
}

static void
test_bad_requests (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint16 flags, type;
    guint64 offset;
    guint32 length, error;
  } cases[] = {
      {0, 99, 0, 0, NBD_EINVAL},
      {0, 8, 0, 512, NBD_EINVAL},
      {0, 0xffff, G_MAXUINT64, G_MAXUINT32, NBD_EINVAL},
      {0, NBD_CMD_READ, 0, 0, NBD_EINVAL},
      {0, NBD_CMD_READ, G_MAXUINT64, 2, NBD_EINVAL},
      {0, NBD_CMD_READ, G_MAXUINT64 - 1, 2, NBD_EINVAL},
      {0, NBD_CMD_READ, 0, G_MAXUINT32, NBD_EINVAL},
      {0xffff, NBD_CMD_READ, 0, 512, NBD_EINVAL},
      {0x20, NBD_CMD_READ, 0, 512, NBD_EINVAL},
      {0, NBD_CMD_FLUSH, 0, 1, NBD_EINVAL},
      {0, NBD_CMD_FLUSH, 1, 0, NBD_EINVAL},
      {0, NBD_CMD_TRIM, 0, 0, NBD_EINVAL},
      {0, NBD_CMD_TRIM, SIZE, G_MAXUINT32, NBD_EINVAL},
      {0, NBD_CMD_WRITE, 0, 0, NBD_EINVAL},
      {0, NBD_CMD_WRITE_ZEROES, 0, 0, NBD_EINVAL},
      {0, NBD_CMD_WRITE_ZEROES, 1, SIZE, NBD_ENOSPC},
      {0, NBD_CMD_WRITE_ZEROES, G_MAXUINT64, G_MAXUINT32, NBD_ENOSPC},
      {0, NBD_CMD_BLOCK_STATUS, 0, 512, NBD_EINVAL}, /* was not negotiated */
      {NBD_CMD_FLAG_FUA, NBD_CMD_BLOCK_STATUS, 0, 512, NBD_EINVAL},
      {0, NBD_CMD_CACHE, 0, 0, NBD_EINVAL},
  };

  for (guint structured = 0; structured < 2; structured++)
    {
      int fd = add_user (f->server, structured == 1);
      guint8 byte, header[16];

      for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
        {
          guint64 cookie = G_MAXUINT64 - i;
          put_request (fd, cases[i].flags, cases[i].type, cookie, cases[i].offset, cases[i].length);
          assert_error (fd, structured == 1, cookie, cases[i].error);
        }
      /* The same cookie twice is the client's own affair. */
      put_request (fd, NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH, 7, 0, 0);
      put_request (fd, 0, NBD_CMD_FLUSH, 7, 0, 0);
      assert_simple (fd, 7, 0);
      assert_simple (fd, 7, 0);
      /* A write that is refused has its payload all the same. */
      put_request (fd, 0x40, NBD_CMD_WRITE, 8, 0, 3);
      put (fd, "abc", 3);
      assert_error (fd, structured == 1, 8, NBD_EINVAL);
      put_request (fd, 0, NBD_CMD_WRITE, 9, SIZE - 1, 3);
      put (fd, "abc", 3);
      assert_error (fd, structured == 1, 9, NBD_ENOSPC);
      put_request (fd, 0, NBD_CMD_READ, 10, 0, 1);
      get (fd, header, sizeof header);
      g_assert_cmphex (h2k_be32 (header), ==,
                       structured ? NBD_STRUCTURED_REPLY_MAGIC : NBD_SIMPLE_REPLY_MAGIC);
      if (structured)
        get (fd, header, 12); /* the rest of the header, and the offset */
      get (fd, &byte, 1);
      g_assert_cmpuint (byte, ==, f->content[0]);
      put (fd, "no request at all, but 28 b.", 28);
      assert_closed (fd);
    }
}

/* Clients that go away in the middle of something do no harm, and write nothing that is not whole
 * but for the pieces of a long one. */
static void
test_broken_off (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *buffer = g_malloc0 (4 * MIB);
  struct nbd_handle *h;
  int fd = add_user (f->server, TRUE);

  put (fd, "\x25\x60\x95", 3);
  close (fd);
  fd = add_user (f->server, TRUE);
  put_request (fd, 0, NBD_CMD_WRITE, 1, 0, 1000);
  put (fd, buffer, 999);
  close (fd);
  /* Requests are still there when nobody takes the replies any more. */
  for (guint i = 0; i < 100; i++)
    {
      fd = add_user (f->server, i % 2);
      for (guint k = 0; k < 200; k++)
        put_request (fd, 0, NBD_CMD_READ, k, 0, i % 3 ? 512 : 32 * MIB);
      close (fd);
    }
  /* Those that were asked for before the end are answered. */
  fd = add_user (f->server, FALSE);
  put_request (fd, 0, NBD_CMD_CACHE, 5, 0, 20 * MIB);
  put_request (fd, 0, NBD_CMD_DISC, 6, 0, 0);
  assert_simple (fd, 5, 0);
  assert_closed (fd);

  h = connect_client (f->server, TRUE);
  check_nbd (nbd_pread (h, buffer, 4 * MIB, 0, 0));
  g_assert_cmpmem (buffer, 4 * MIB, f->content, 4 * MIB);
  nbd_close (h);
}

static gsize
resident (void)
{
  g_autofree char *text = NULL;
  gsize pages = 0;

  g_assert_true (g_file_get_contents ("/proc/self/statm", &text, NULL, NULL));
  g_assert_cmpint (sscanf (text, "%*u %zu", &pages), ==, 1);
  return pages * (gsize)sysconf (_SC_PAGESIZE);
}

/* One that never reads holds up itself alone, takes little memory, and can be got rid of. */
static void
test_never_reads (Fixture *f, gconstpointer data)
{
  int fds[4];
  g_autofree guint8 *buffer = g_malloc0 (MIB);
  gsize before = resident ();
  gint64 start;
  struct nbd_handle *h;

  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    {
      fds[i] = add_user (f->server, i % 2);
      for (guint k = 0; k < 100; k++)
        put_request (fds[i], 0, NBD_CMD_READ, k, 0, 32 * MIB);
    }
  h = connect_client (f->server, TRUE);
  for (guint i = 0; i < 50; i++)
    check_nbd (nbd_pread (h, buffer, MIB, i * 1000, 0));
  g_assert_cmpuint (resident (), <, before + 80 * MIB);
  start = g_get_monotonic_time ();
  h2k_nbd_server_stop (f->server);
  g_assert_cmpint (g_get_monotonic_time () - start, <, 5 * G_TIME_SPAN_SECOND);
  g_assert_cmpint (nbd_pread (h, buffer, 512, 0, 0), ==, -1);
  nbd_close (h);
  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    assert_closed (fds[i]);
}

/* --- sockets and the end ---------------------------------------------------------------------- */

/* Also with a read that would never end, and clients that have not said what they want. */
static void
test_stop (void)
{
  TroubleDisk *t = make_trouble ();
  g_autoptr (H2kNbdServer) server = serve_trouble (t);
  g_autofree char *socket_path = g_strdup (h2k_nbd_server_socket (server));
  g_autofree char *folder = g_path_get_dirname (socket_path);
  int silent = add_raw (server), user = add_user (server, TRUE);
  gint64 start;
  struct stat st;

  g_assert_cmpint (stat (socket_path, &st), ==, 0);
  g_assert_cmphex (st.st_mode, ==, S_IFSOCK | 0600);
  g_assert_cmpint (stat (folder, &st), ==, 0);
  g_assert_cmphex (st.st_mode, ==, S_IFDIR | 0700);
  put_request (user, 0, NBD_CMD_READ, 1, SLOW, 512);
  g_mutex_lock (&t->lock);
  while (t->waiting == 0)
    g_cond_wait (&t->changed, &t->lock);
  g_mutex_unlock (&t->lock);
  start = g_get_monotonic_time ();
  h2k_nbd_server_stop (server);
  g_assert_cmpint (g_get_monotonic_time () - start, <, 5 * G_TIME_SPAN_SECOND);
  g_assert_cmpint (g_access (socket_path, F_OK), ==, -1);
  g_assert_cmpint (g_access (folder, F_OK), ==, -1);
  assert_closed (silent);
  assert_closed (user);
  h2k_nbd_server_stop (server);
}

/* What is under way is finished when the server ends. */
static gpointer
stop_server (gpointer data)
{
  h2k_nbd_server_stop (data);
  return NULL;
}

static void
test_graceful (void)
{
  TroubleDisk *t = make_trouble ();
  g_autoptr (H2kNbdServer) server = serve_trouble (t);
  struct nbd_handle *h = connect_client (server, FALSE);
  guint8 buffer[512];
  gint64 cookie = nbd_aio_pread (h, buffer, sizeof buffer, SLOW, NBD_NULL_COMPLETION, 0);
  GThread *thread;
  int completed;

  g_mutex_lock (&t->lock);
  while (t->waiting == 0)
    g_cond_wait (&t->changed, &t->lock);
  thread = g_thread_new ("stop", stop_server, server);
  while (!g_atomic_int_get (&server->stopping))
    g_usleep (1000);
  t->go = TRUE;
  g_cond_broadcast (&t->changed);
  g_mutex_unlock (&t->lock);
  while ((completed = nbd_aio_command_completed (h, (guint64)cookie)) == 0)
    check_nbd (nbd_poll (h, -1));
  check_nbd (completed);
  g_thread_join (thread);
  nbd_close (h);
}

static H2kNbdServer *
new_server (guint connections)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (MIB);
  H2kNbdServerOptions options = {.name = "a/b ü?", .connections = connections};

  return h2k_nbd_server_new (disk, &options);
}

static void
assert_served (const char *uri)
{
  struct nbd_handle *h = nbd_create ();

  check_nbd (nbd_connect_uri (h, uri));
  g_assert_cmpint (nbd_get_size (h), ==, MIB);
  nbd_close (h);
}

static void
test_sockets (void)
{
  g_autofree char *folder = g_dir_make_tmp ("h2k-test-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "a socket?", NULL);
  g_autofree char *longer = g_strnfill (200, 'x'), *too_long = NULL;
  g_autoptr (H2kNbdServer) server = new_server (0), second = new_server (0), tcp = new_server (0);
  g_autoptr (GError) error = NULL;
  struct stat st;

  too_long = g_build_filename (folder, longer, NULL);
  g_assert_false (h2k_nbd_server_listen_unix (second, too_long, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_USAGE);
  g_clear_error (&error);
  h2k_nbd_server_listen_unix (server, path, &error);
  g_assert_no_error (error);
  g_assert_cmpint (stat (path, &st), ==, 0);
  g_assert_cmphex (st.st_mode, ==, S_IFSOCK | 0600);
  assert_served (h2k_nbd_server_uri (server));
  g_assert_false (h2k_nbd_server_listen_unix (second, path, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS);
  g_clear_error (&error);
  h2k_nbd_server_stop (second);
  assert_served (h2k_nbd_server_uri (server));

  /* Somebody else's file stays. */
  g_assert_cmpint (g_unlink (path), ==, 0);
  g_assert_true (g_file_set_contents (path, "mine", -1, NULL));
  h2k_nbd_server_stop (server);
  g_assert_cmpint (g_unlink (path), ==, 0);
  g_assert_cmpint (g_rmdir (folder), ==, 0);

  h2k_nbd_server_listen_tcp (tcp, 0, &error);
  g_assert_no_error (error);
  g_assert_true (g_str_has_prefix (h2k_nbd_server_uri (tcp), "nbd://127.0.0.1:"));
  g_assert_null (h2k_nbd_server_socket (tcp));
  assert_served (h2k_nbd_server_uri (tcp));
}

typedef struct
{
  const char *uri;
  int connected;
} Third;

static gpointer
connect_third (gpointer data)
{
  Third *third = data;
  struct nbd_handle *h = nbd_create ();

  check_nbd (nbd_connect_uri (h, third->uri));
  g_atomic_int_set (&third->connected, TRUE);
  nbd_close (h);
  return NULL;
}

/* More clients than there may be wait for their turn; the last one's leaving is seen. */
static void
test_limit (void)
{
  g_autoptr (H2kNbdServer) server = new_server (2);
  struct nbd_handle *handles[2];
  Third third = {0};
  GThread *thread;
  int probe;

  g_assert_true (h2k_nbd_server_listen_unix (server, NULL, NULL));
  third.uri = h2k_nbd_server_uri (server);
  /* Who only looks is no client. */
  probe = add_raw (server);
  hello (probe, 3);
  try_option (probe, NBD_OPT_ABORT, "", 0, NBD_REP_ACK);
  assert_closed (probe);
  for (guint i = 0; i < 2; i++)
    {
      handles[i] = nbd_create ();
      check_nbd (nbd_connect_uri (handles[i], third.uri));
    }
  thread = g_thread_new ("third", connect_third, &third);
  g_usleep (100000);
  g_assert_false (g_atomic_int_get (&third.connected));
  nbd_close (handles[0]);
  g_thread_join (thread);
  nbd_close (handles[1]);
  h2k_nbd_server_wait (server, TRUE, NULL);
}

#define ADD(name, function, writable)                                                              \
  g_test_add ("/nbd-server/" name, Fixture, GINT_TO_POINTER (writable), set_up, function, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_log_set_writer_func (count_warning, NULL, NULL);
  ADD ("read-only/negotiation", test_negotiation, FALSE);
  ADD ("writable/negotiation", test_negotiation, TRUE);
  ADD ("read-only/reading", test_reading, FALSE);
  ADD ("writable/reading", test_reading, TRUE);
  ADD ("extents", test_extents, FALSE);
  ADD ("writing", test_writing, TRUE);
  ADD ("concurrency", test_concurrency, TRUE);
  g_test_add_func ("/nbd-server/out-of-order", test_out_of_order);
  g_test_add_func ("/nbd-server/disk-errors", test_disk_errors);
  ADD ("read-only/refused", test_refused, FALSE);
  ADD ("writable/refused", test_refused, TRUE);
  ADD ("bad-options", test_bad_options, FALSE);
  ADD ("bad-handshakes", test_bad_handshakes, FALSE);
  ADD ("contexts", test_contexts, FALSE);
  ADD ("bad-requests", test_bad_requests, TRUE);
  ADD ("broken-off", test_broken_off, TRUE);
  ADD ("never-reads", test_never_reads, FALSE);
  g_test_add_func ("/nbd-server/stop", test_stop);
  g_test_add_func ("/nbd-server/graceful", test_graceful);
  g_test_add_func ("/nbd-server/sockets", test_sockets);
  g_test_add_func ("/nbd-server/limit", test_limit);
  return g_test_run ();
}
