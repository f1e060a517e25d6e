/* remote.c - links, patience and the cache of files on servers. See remote.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/remote.h"

#define DEFAULT_PATIENCE 60u
#define MAX_PATIENCE 86400u
#define MAX_STALL 30u
#define FIRST_PAUSE (G_USEC_PER_SEC / 10)
#define MAX_PAUSE (10 * (gint64)G_USEC_PER_SEC)
#define NO_MORE_LINKS (30 * (gint64)G_USEC_PER_SEC) /* when a further one was refused */
#define TICK (G_USEC_PER_SEC / 10)                  /* how often a wait looks up */

#define BLOCK ((gsize)128 << 10) /* short reads are made of these */
#define READAHEAD 8              /* blocks, when the block before is known */
#define CACHE_BYTES ((gsize)16 << 20)

/* --- names ------------------------------------------------------------------------------------ */

char *
h2k_uri_shown (const char *uri)
{
  const char *start = strstr (uri, "://"), *end, *at, *query;
  g_autofree char *scheme = start ? g_ascii_strdown (uri, start - uri) : NULL;
  g_autofree char *authority = NULL;
  gboolean plain;

  if (!start)
    return g_strdup (uri);
  start += 3;
  end = start + strcspn (start, "/?#");
  at = g_strrstr_len (start, end - start, "@");
  if (at)
    start = at + 1;
  authority = g_strndup (start, (gsize)(end - start));
  /* Half of a password that holds a slash would pass for a port. */
  plain = g_regex_match_simple ("^(\\[[^]]*\\]|[^:]*)(:[0-9]*)?$", authority, G_REGEX_RAW, 0);
  query = g_str_has_prefix (scheme, "http") ? end + strcspn (end, "?#") : end + strlen (end);
  if (!plain)
    return g_strconcat (scheme, "://***", NULL);
  return g_strdup_printf ("%s://%s%s%.*s", scheme, at ? "***@" : "", authority, (int)(query - end),
                          end);
}

/* --- patience --------------------------------------------------------------------------------- */

guint
h2k_remote_patience (void)
{
  const char *text = g_getenv ("H2K_PATIENCE");
  guint64 seconds;

  if (text && g_ascii_string_to_unsigned (text, 10, 0, MAX_PATIENCE, &seconds, NULL))
    return (guint)seconds;
  return DEFAULT_PATIENCE;
}

guint
h2k_remote_stall (void)
{
  return CLAMP (h2k_remote_patience (), 1, MAX_STALL);
}

gboolean
h2k_remote_is_cancelled (GError **error)
{
  return h2k_is_cancelled (g_cancellable_get_current (), error);
}

/* Wait before try N + 1; FALSE when that is not worth it, or cancelled with ERROR set. */
static gboolean
wait_for_next_try (H2kRemote *remote, guint n, gint64 since, const H2kTrouble *trouble,
                   GError **error)
{
  gint64 now = g_get_monotonic_time ();
  gint64 patience = h2k_remote_patience () * (gint64)G_USEC_PER_SEC;
  gint64 pause = MIN ((gint64)FIRST_PAUSE << MIN (n, 10), MAX_PAUSE);

  if (!trouble->again || (trouble->tries && n + 1 >= trouble->tries)
      || g_atomic_int_get (&remote->lost))
    return FALSE;
  /* Threads that failed together should not come back together. */
  pause = (gint64)((double)pause * g_random_double_range (0.5, 1.0));
  if (trouble->wait > MAX_PATIENCE)
    return FALSE;
  pause = MAX (pause, (gint64)trouble->wait * G_USEC_PER_SEC);
  if (now + pause - since > patience)
    {
      g_atomic_int_set (&remote->lost, trouble->tries == 0);
      return FALSE;
    }
  for (gint64 until = now + pause; now < until; now = g_get_monotonic_time ())
    {
      if (h2k_remote_is_cancelled (error))
        return FALSE;
      g_usleep ((gulong)MIN (until - now, TICK));
    }
  return TRUE;
}

/* --- links ------------------------------------------------------------------------------------ */

/* Count one more link, or take an idle one; FALSE: neither is possible now. With the lock. */
static gboolean
may_go (H2kRemote *remote, gpointer *link)
{
  *link = NULL;
  if (remote->idle->len)
    {
      *link = g_ptr_array_steal_index_fast (remote->idle, remote->idle->len - 1);
      return TRUE;
    }
  if (remote->links >= remote->max_links
      || (remote->links && g_get_monotonic_time () < remote->no_more))
    return FALSE;
  remote->links++;
  return TRUE;
}

/* A link for this thread alone. */
static gpointer
take_link (H2kRemote *remote, H2kTrouble *trouble, GError **error)
{
  g_autoptr (GError) local = NULL;
  gpointer link;

  g_mutex_lock (&remote->lock);
  for (;;)
    {
      while (!may_go (remote, &link))
        {
          g_cond_wait_until (&remote->changed, &remote->lock, g_get_monotonic_time () + TICK);
          if (h2k_remote_is_cancelled (error))
            {
              g_mutex_unlock (&remote->lock);
              return NULL;
            }
        }
      if (link)
        break;
      g_mutex_unlock (&remote->lock);
      g_clear_error (&local);
      *trouble = (H2kTrouble){.again = TRUE};
      link = remote->ops->connect (remote, trouble, &local);
      g_mutex_lock (&remote->lock);
      if (link)
        break;
      remote->links--;
      if (!remote->links || !trouble->again
          || g_error_matches (local, H2K_ERROR, H2K_ERROR_CANCELLED))
        {
          g_propagate_error (error, g_steal_pointer (&local));
          break;
        }
      /* The server may not want so many: go on with those there are. */
      remote->no_more = g_get_monotonic_time () + NO_MORE_LINKS;
      g_info ("%s: no further connection: %s", remote->file.name, local->message);
    }
  g_mutex_unlock (&remote->lock);
  return link;
}

static void
give_link (H2kRemote *remote, gpointer link, gboolean broken)
{
  if (broken)
    remote->ops->disconnect (link);
  g_mutex_lock (&remote->lock);
  if (broken)
    remote->links--;
  else
    g_ptr_array_add (remote->idle, link);
  g_cond_broadcast (&remote->changed);
  g_mutex_unlock (&remote->lock);
}

void
h2k_remote_add_link (H2kRemote *remote, gpointer link)
{
  remote->links++;
  give_link (remote, link, FALSE);
}

gpointer
h2k_remote_take_idle (H2kRemote *remote)
{
  gpointer link = NULL;

  g_mutex_lock (&remote->lock);
  if (remote->idle->len)
    {
      link = g_ptr_array_steal_index_fast (remote->idle, remote->idle->len - 1);
      remote->links--;
    }
  g_mutex_unlock (&remote->lock);
  return link;
}

gboolean
h2k_remote_run (H2kRemote *remote, H2kRemoteTry try_it, gpointer job, GError **error)
{
  gint64 since = g_get_monotonic_time ();

  for (guint n = 0;; n++)
    {
      H2kTrouble trouble = {0};
      g_autoptr (GError) local = NULL;
      gpointer link
          = h2k_remote_is_cancelled (&local) ? NULL : take_link (remote, &trouble, &local);
      gboolean ok;

      if (link)
        trouble = (H2kTrouble){0};
      ok = link && try_it (remote, link, job, &trouble, &local);
      if (link)
        give_link (remote, link, !ok && trouble.broken);
      if (ok)
        {
          g_atomic_int_set (&remote->lost, FALSE);
          return TRUE;
        }
      if (trouble.progress)
        {
          g_atomic_int_set (&remote->lost, FALSE);
          since = g_get_monotonic_time ();
          n = 0;
        }
      if (g_error_matches (local, H2K_ERROR, H2K_ERROR_CANCELLED)
          || !wait_for_next_try (remote, n, since, &trouble, error))
        {
          if (!error || !*error)
            g_propagate_error (error, g_steal_pointer (&local));
          return FALSE;
        }
      g_info ("%s; trying again", local->message);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

void
h2k_remote_init (H2kRemote *remote, const H2kFileOps *file_ops, const H2kRemoteOps *ops,
                 const char *uri, const char *server)
{
  g_autofree char *shown = h2k_uri_shown (uri);

  h2k_file_init (&remote->file, file_ops, 0, shown);
  remote->file.server = server;
  remote->ops = ops;
  remote->max_links = 1;
  g_mutex_init (&remote->lock);
  g_cond_init (&remote->changed);
  remote->idle = g_ptr_array_new ();
  remote->pending = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  remote->cache = h2k_cache_new (CACHE_BYTES);
}

void
h2k_remote_clear (H2kRemote *remote)
{
  for (guint i = 0; i < remote->idle->len; i++)
    remote->ops->disconnect (remote->idle->pdata[i]);
  g_ptr_array_unref (remote->idle);
  g_hash_table_unref (remote->pending);
  h2k_cache_free (remote->cache);
  g_cond_clear (&remote->changed);
  g_mutex_clear (&remote->lock);
}

/* --- reading ---------------------------------------------------------------------------------- */

static gboolean
try_read (H2kRemote *remote, gpointer link, gpointer job, H2kTrouble *trouble, GError **error)
{
  H2kRemoteRead *read = job;
  gsize before = read->length;
  gboolean ok = remote->ops->read (remote, link, read, trouble, error);

  trouble->progress = trouble->progress || read->length < before;
  return ok;
}

static gboolean
read_now (H2kRemote *remote, guint64 offset, gsize length, void *buffer, GError **error)
{
  H2kRemoteRead read = {offset, length, buffer};

  return h2k_remote_run (remote, try_read, &read, error);
}

static guint64 *
new_key (guint64 key)
{
  return g_memdup2 (&key, sizeof key);
}

/* How many blocks from KEY on are fetched at once, marked as pending. With the lock. */
static guint
claim_blocks (H2kRemote *remote, guint64 key)
{
  guint64 previous = key - 1, last = (remote->file.size - 1) / BLOCK;
  g_autoptr (GBytes) before = key ? h2k_cache_get (remote->cache, previous) : NULL;
  guint most = before ? READAHEAD : 1, n = 0;

  while (n < most && key + n <= last)
    {
      guint64 next = key + n;
      g_autoptr (GBytes) known = n ? h2k_cache_get (remote->cache, next) : NULL;

      if (known || g_hash_table_contains (remote->pending, &next))
        break;
      g_hash_table_add (remote->pending, new_key (next));
      n++;
    }
  return n;
}

/* Fetch N blocks from KEY on, which are pending, into the cache. The first one, a reference. */
static GBytes *
fetch_blocks (H2kRemote *remote, guint64 key, guint n, GError **error)
{
  gsize length = (gsize)MIN (n * BLOCK, remote->file.size - key * BLOCK);
  g_autofree guint8 *data = g_malloc (length);
  gboolean ok = read_now (remote, key * BLOCK, length, data, error);
  GBytes *first = NULL;

  for (guint i = 0; ok && i < n; i++)
    {
      GBytes *block = g_bytes_new (data + i * BLOCK, MIN (BLOCK, length - i * BLOCK));
      h2k_cache_put (remote->cache, key + i, block);
      if (i == 0)
        first = g_bytes_ref (block);
      g_bytes_unref (block);
    }
  g_mutex_lock (&remote->lock);
  for (guint64 i = key; i < key + n; i++)
    g_hash_table_remove (remote->pending, &i);
  g_cond_broadcast (&remote->changed);
  g_mutex_unlock (&remote->lock);
  return first;
}

/* Block KEY, a reference. What another thread fetches already is waited for. */
static GBytes *
get_block (H2kRemote *remote, guint64 key, GError **error)
{
  GBytes *block;
  guint n = 0;

  g_mutex_lock (&remote->lock);
  while (!(block = h2k_cache_get (remote->cache, key)) && (n = claim_blocks (remote, key)) == 0)
    {
      g_cond_wait_until (&remote->changed, &remote->lock, g_get_monotonic_time () + TICK);
      if (h2k_remote_is_cancelled (error))
        {
          g_mutex_unlock (&remote->lock);
          return NULL;
        }
    }
  g_mutex_unlock (&remote->lock);
  return block ? block : fetch_blocks (remote, key, n, error);
}

gboolean
h2k_remote_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  H2kRemote *remote = (H2kRemote *)file;
  guint8 *out = buffer;

  if (length >= remote->ops->direct)
    return read_now (remote, offset, length, buffer, error);
  while (length)
    {
      gsize inside = (gsize)(offset % BLOCK), n = MIN (length, BLOCK - inside);
      g_autoptr (GBytes) block = get_block (remote, offset / BLOCK, error);

      if (!block)
        return FALSE;
      memcpy (out, (const guint8 *)g_bytes_get_data (block, NULL) + inside, n);
      out += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}
