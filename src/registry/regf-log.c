/* regf-log.c - replay of transaction logs, as regf-log.h says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/regf-log.h"

#define SECTOR 512u

typedef struct __attribute__ ((packed))
{
  char magic[4]; /* "HvLE" */
  guint32 size;  /* of all of the entry, a multiple of 512 */
  guint32 flags; /* bit 0 of the base block's */
  guint32 sequence;
  guint32 length; /* of all bins */
  guint32 n_pages;
  guint64 hash1; /* of what comes behind this header */
  guint64 hash2; /* of the 32 bytes before it */
} Entry;
G_STATIC_ASSERT (sizeof (Entry) == 40);

typedef struct __attribute__ ((packed))
{
  guint32 offset;
  guint32 size;
} Page;

typedef struct
{
  H2kRegf *regf;
  H2kRegfReplay *replay;
  gboolean base_valid;
  GError *failure; /* of the copy, not of a log */
} Replay;

/* Whether A is later than B; numbers wrap around. */
static gboolean
is_later (guint32 a, guint32 b)
{
  return (gint32)(a - b) > 0;
}

static guint32
rotate (guint32 x, guint bits)
{
  return x << bits | x >> (32 - bits);
}

static void
mix (guint32 *lo, guint32 *hi, guint32 value)
{
  *lo += value;
  *hi ^= *lo;
  *lo = rotate (*lo, 20) + *hi;
  *hi = rotate (*hi, 9) ^ *lo;
  *lo = rotate (*lo, 27) + *hi;
  *hi = rotate (*hi, 19);
}

guint64
h2k_regf_hash (const guint8 *data, gsize length)
{
  guint32 lo = 0x7a4e55c5, hi = 0x82ef4d88;

  g_assert (length % 4 == 0);
  for (gsize i = 0; i < length; i += 4)
    mix (&lo, &hi, h2k_le32 (data + i));
  mix (&lo, &hi, 0x80);
  mix (&lo, &hi, 0);
  return (guint64)hi << 32 | lo;
}

static void G_GNUC_PRINTF (2, 3) add_note (Replay *ctx, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  g_ptr_array_add (ctx->replay->notes, g_strdup_vprintf (format, args));
  va_end (args);
}

static const H2kRegfBase *
log_base (const H2kRegfLog *log)
{
  return (const H2kRegfBase *)log->data;
}

/* Why LOG cannot be used at all, or NULL. */
static const char *
check_log (const H2kRegfLog *log)
{
  const H2kRegfBase *base = log_base (log);

  if (log->size < 2 * SECTOR)
    return "is too short";
  if (memcmp (base->magic, "regf", 4) != 0)
    return "is none";
  if (!h2k_regf_base_is_valid (base))
    return "has a wrong checksum";
  if (base->sequence1 != base->sequence2)
    return "was not completed";
  if (GUINT32_FROM_LE (base->cluster) != 1)
    return "has sectors of an unknown size";
  if (base->length == 0 || GUINT32_FROM_LE (base->length) % H2K_REGF_PAGE != 0
      || GUINT32_FROM_LE (base->length) > H2K_REGF_MAX)
    return "tells an impossible length of the hive";
  switch (GUINT32_FROM_LE (base->type))
    {
    case 1:
    case 2:
      return memcmp (log->data + SECTOR, "DIRT", 4) == 0 ? NULL : "has no bitmap";
    case 6:
      return NULL;
    }
  return "is of an unknown kind";
}

static gboolean
is_new_format (const H2kRegfLog *log)
{
  return GUINT32_FROM_LE (log_base (log)->type) == 6;
}

/* The hive's bins have LENGTH bytes now. FALSE with ERROR set, or not: LENGTH is impossible. What a
 * hive grows by is in the log, all of it. */
static gboolean
set_length (Replay *ctx, guint32 length, gsize log_size)
{
  guint64 most = (guint64)ctx->regf->size - H2K_REGF_BASE + log_size;

  if (length > most || length > H2K_REGF_MAX)
    return FALSE;
  if (ctx->regf->size < H2K_REGF_BASE + (gsize)length
      && !h2k_regf_resize (ctx->regf, H2K_REGF_BASE + (gsize)length, &ctx->failure))
    return FALSE;
  h2k_regf_base (ctx->regf)->length = GUINT32_TO_LE (length);
  return TRUE;
}

static void
write_page (Replay *ctx, guint32 offset, const guint8 *data, guint32 size)
{
  memcpy (ctx->regf->data + H2K_REGF_BASE + offset, data, size);
  ctx->replay->n_pages++;
}

/* The base block becomes that of LOG. */
static void
recover_base (Replay *ctx, const H2kRegfLog *log)
{
  memcpy (ctx->regf->data, log->data, sizeof (H2kRegfBase));
  h2k_regf_base (ctx->regf)->type = 0;
  ctx->replay->header_recovered = TRUE;
}

/* --- the old format --------------------------------------------------------------------------- */

/* The time that the hive says it was written at, of whatever is left of it; FALSE: nothing is. */
static gboolean
time_of_hive (const Replay *ctx, guint64 *written)
{
  const H2kRegfBin *bin = (const H2kRegfBin *)(ctx->regf->data + H2K_REGF_BASE);

  if (ctx->base_valid)
    *written = GUINT64_FROM_LE (h2k_regf_base (ctx->regf)->written);
  else if (ctx->regf->size > H2K_REGF_BASE && memcmp (bin->magic, "hbin", 4) == 0
           && bin->offset == 0)
    *written = GUINT64_FROM_LE (bin->written);
  else
    return FALSE;
  return TRUE;
}

static const H2kRegfLog *
choose_old (Replay *ctx, const H2kRegfLog *logs, guint n_logs)
{
  const H2kRegfLog *latest = NULL;
  guint64 written;

  if (!time_of_hive (ctx, &written))
    return NULL;
  for (guint i = 0; i < n_logs; i++)
    {
      guint64 time = GUINT64_FROM_LE (log_base (&logs[i])->written);

      if (is_new_format (&logs[i]))
        continue;
      if (time == written)
        return &logs[i];
      if (time > written && (!latest || time > GUINT64_FROM_LE (log_base (latest)->written)))
        latest = &logs[i];
    }
  return latest;
}

/* How many bits of the bitmap are set. */
static gsize
count_bits (const guint8 *bitmap, gsize length)
{
  gsize n = 0;

  for (gsize i = 0; i < length; i++)
    n += (gsize)__builtin_popcount (bitmap[i]);
  return n;
}

/* FALSE without an error: the log cannot be used. */
static gboolean
apply_old (Replay *ctx, const H2kRegfLog *log)
{
  const H2kRegfBase *base = log_base (log);
  guint32 length = GUINT32_FROM_LE (base->length);
  const guint8 *bitmap = log->data + SECTOR + 4, *sector;
  gsize bitmap_length = length / SECTOR / 8;
  gsize start = (SECTOR + 4 + bitmap_length + SECTOR - 1) / SECTOR * SECTOR;

  if (start > log->size || count_bits (bitmap, bitmap_length) > (log->size - start) / SECTOR)
    {
      add_note (ctx, "%s is not used: it is torn", log->name);
      return FALSE;
    }
  if (!set_length (ctx, length, log->size))
    {
      if (!ctx->failure)
        add_note (ctx, "%s is not used: it tells an impossible length of the hive", log->name);
      return FALSE;
    }
  if (!ctx->base_valid)
    recover_base (ctx, log);
  h2k_regf_base (ctx->regf)->root = base->root;
  h2k_regf_base (ctx->regf)->minor = base->minor;
  h2k_regf_base (ctx->regf)->flags = base->flags;
  h2k_regf_base (ctx->regf)->written = base->written;
  sector = log->data + start;
  for (gsize i = 0; i < bitmap_length * 8; i++)
    if (bitmap[i / 8] & 1 << i % 8)
      {
        write_page (ctx, (guint32)i * SECTOR, sector, SECTOR);
        sector += SECTOR;
      }
  ctx->replay->n_entries++;
  ctx->replay->sequence = GUINT32_FROM_LE (base->sequence1);
  g_ptr_array_add (ctx->replay->replayed, g_strdup (log->name));
  return TRUE;
}

/* --- the new format --------------------------------------------------------------------------- */

/* Why there is no further entry at AT, or NULL. */
static const char *
check_entry (const H2kRegfLog *log, gsize at, guint32 sequence)
{
  const Entry *entry = (const Entry *)(log->data + at);
  guint32 size, n;
  const Page *pages = (const Page *)(entry + 1);
  guint64 bytes = 0;

  if (log->size - at < sizeof *entry || memcmp (entry->magic, "HvLE", 4) != 0)
    return "the log ends";
  size = GUINT32_FROM_LE (entry->size);
  n = GUINT32_FROM_LE (entry->n_pages);
  if (GUINT64_FROM_LE (entry->hash2) != h2k_regf_hash ((const guint8 *)entry, 32))
    return "its header has a wrong hash";
  if (GUINT32_FROM_LE (entry->sequence) != sequence)
    return "it has another sequence number";
  if (size < SECTOR || size % SECTOR != 0 || size > log->size - at)
    return "it is torn";
  if (GUINT64_FROM_LE (entry->hash1) != h2k_regf_hash ((const guint8 *)pages, size - sizeof *entry))
    return "it has a wrong hash";
  if (n == 0 || n > (size - sizeof *entry) / sizeof *pages || entry->length == 0
      || GUINT32_FROM_LE (entry->length) % H2K_REGF_PAGE != 0)
    return "it contradicts itself";
  for (guint32 i = 0; i < n; i++)
    {
      bytes += GUINT32_FROM_LE (pages[i].size);
      if (pages[i].size == 0
          || (guint64)GUINT32_FROM_LE (pages[i].offset) + GUINT32_FROM_LE (pages[i].size)
                 > GUINT32_FROM_LE (entry->length))
        return "a page of it lies outside of the hive";
    }
  return bytes > size - sizeof *entry - n * sizeof *pages ? "it contradicts itself" : NULL;
}

static gboolean
apply_entry (Replay *ctx, const Entry *entry)
{
  guint32 n = GUINT32_FROM_LE (entry->n_pages);
  const Page *pages = (const Page *)(entry + 1);
  const guint8 *data = (const guint8 *)(pages + n);
  H2kRegfBase *base;
  guint32 flags;

  if (!set_length (ctx, GUINT32_FROM_LE (entry->length), GUINT32_FROM_LE (entry->size)))
    return FALSE;
  for (guint32 i = 0; i < n; i++)
    {
      write_page (ctx, GUINT32_FROM_LE (pages[i].offset), data, GUINT32_FROM_LE (pages[i].size));
      data += GUINT32_FROM_LE (pages[i].size);
    }
  base = h2k_regf_base (ctx->regf);
  flags = GUINT32_FROM_LE (base->flags) & ~H2K_REGF_FLAG_PENDING;
  base->flags = GUINT32_TO_LE (flags | (GUINT32_FROM_LE (entry->flags) & H2K_REGF_FLAG_PENDING));
  ctx->replay->n_entries++;
  ctx->replay->sequence = GUINT32_FROM_LE (entry->sequence);
  return TRUE;
}

/* Apply all entries of LOG, the first one of which has SEQUENCE. Returns how many these are. */
static guint
apply_new (Replay *ctx, const H2kRegfLog *log, guint32 sequence)
{
  gsize at = SECTOR;
  const char *reason;
  guint n = 0;

  while (!(reason = check_entry (log, at, sequence)))
    {
      const Entry *entry = (const Entry *)(log->data + at);

      if (n == 0 && !ctx->base_valid && !ctx->replay->header_recovered)
        recover_base (ctx, log);
      if (!apply_entry (ctx, entry))
        {
          reason = "it tells an impossible length of the hive";
          break;
        }
      at += GUINT32_FROM_LE (entry->size);
      sequence++;
      n++;
    }
  if (n > 0)
    g_ptr_array_add (ctx->replay->replayed, g_strdup (log->name));
  if (strcmp (reason, "the log ends") != 0 || n == 0)
    add_note (ctx, "%s: %u entries were applied; the next one was not: %s", log->name, n, reason);
  return n;
}

/* FIRST has earlier entries than SECOND, which may be NULL. */
static guint
replay_new (Replay *ctx, const H2kRegfLog *first, const H2kRegfLog *second)
{
  guint32 known = GUINT32_FROM_LE (h2k_regf_base (ctx->regf)->sequence2);
  guint n = 0;

  if (second && !ctx->base_valid)
    {
      add_note (ctx, "%s is not used: without a base block, only the later log is", first->name);
      first = NULL;
    }
  else if (is_later (known, GUINT32_FROM_LE (log_base (first)->sequence1)) && ctx->base_valid)
    {
      add_note (ctx, "%s is not used: it is older than the hive", first->name);
      first = NULL;
    }
  if (first)
    n = apply_new (ctx, first, GUINT32_FROM_LE (log_base (first)->sequence1));
  if (!second || ctx->failure)
    return n;
  if (first
      && (n == 0 || GUINT32_FROM_LE (log_base (second)->sequence1) != ctx->replay->sequence + 1))
    add_note (ctx, "%s is not used: it does not continue %s", second->name, first->name);
  else if (!first && ctx->base_valid
           && is_later (known, GUINT32_FROM_LE (log_base (second)->sequence1)))
    add_note (ctx, "%s is not used: it is older than the hive", second->name);
  else
    n += apply_new (ctx, second, GUINT32_FROM_LE (log_base (second)->sequence1));
  return n;
}

/* The two new logs that count, in their order; FALSE: there is none. */
static gboolean
choose_new (const H2kRegfLog *logs, guint n_logs, const H2kRegfLog **first,
            const H2kRegfLog **second)
{
  *first = *second = NULL;
  for (guint i = 0; i < n_logs && !*second; i++)
    if (is_new_format (&logs[i]))
      *(*first ? second : first) = &logs[i];
  if (*second
      && is_later (GUINT32_FROM_LE (log_base (*first)->sequence1),
                   GUINT32_FROM_LE (log_base (*second)->sequence1)))
    {
      const H2kRegfLog *later = *first;

      *first = *second;
      *second = later;
    }
  return *first != NULL;
}

/* --- both ------------------------------------------------------------------------------------- */

/* Those of LOGS that are logs, in VALID. */
static guint
sort_out (Replay *ctx, const H2kRegfLog *logs, guint n_logs, H2kRegfLog *valid)
{
  guint n = 0;

  for (guint i = 0; i < n_logs; i++)
    {
      const char *reason = check_log (&logs[i]);

      if (!reason)
        {
          valid[n++] = logs[i];
          if (is_later (GUINT32_FROM_LE (log_base (&logs[i])->sequence1), ctx->replay->highest))
            ctx->replay->highest = GUINT32_FROM_LE (log_base (&logs[i])->sequence1);
        }
      else if (ctx->replay->was_dirty && logs[i].size > 0)
        add_note (ctx, "%s is not used: it %s", logs[i].name, reason);
    }
  return n;
}

static void
find_sequences (Replay *ctx)
{
  const H2kRegfBase *base = h2k_regf_base (ctx->regf);
  H2kRegfReplay *replay = ctx->replay;
  guint32 first = GUINT32_FROM_LE (base->sequence1), second = GUINT32_FROM_LE (base->sequence2);

  replay->was_dirty = !ctx->base_valid || first != second;
  replay->sequence = replay->highest = !ctx->base_valid           ? 0
                                       : is_later (second, first) ? second
                                                                  : first;
}

static gboolean
replay_logs (Replay *ctx, const H2kRegfLog *valid, guint n)
{
  const H2kRegfLog *first, *second, *old;
  gboolean done = FALSE;

  if (choose_new (valid, n, &first, &second))
    done = replay_new (ctx, first, second) > 0;
  else if ((old = choose_old (ctx, valid, n)) != NULL)
    done = apply_old (ctx, old);
  else if (n > 0)
    add_note (ctx, "none of its logs was written with it");
  return done;
}

static gboolean
replay_dirty (Replay *ctx, const H2kRegfLog *logs, guint n_logs, GError **error)
{
  g_autofree H2kRegfLog *valid = g_new0 (H2kRegfLog, n_logs + 1);
  guint n = sort_out (ctx, logs, n_logs, valid);
  gboolean done;

  if (!ctx->replay->was_dirty)
    return TRUE;
  done = replay_logs (ctx, valid, n);
  if (ctx->failure)
    {
      g_propagate_error (error, ctx->failure);
      return FALSE;
    }
  if (!done && !ctx->base_valid)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "its base block is damaged, and no log has a copy of it");
      return FALSE;
    }
  if (!done)
    add_note (ctx,
              "its last write was not completed, and no log completes it: it is taken as it is");
  if (!ctx->base_valid || is_later (ctx->replay->sequence, ctx->replay->highest))
    ctx->replay->highest = ctx->replay->sequence;
  h2k_regf_set_clean (ctx->regf, ctx->replay->sequence);
  return TRUE;
}

gboolean
h2k_regf_replay (H2kRegf *regf, const H2kRegfLog *logs, guint n_logs, H2kRegfReplay *replay,
                 GError **error)
{
  Replay ctx = {regf, replay};

  *replay = (H2kRegfReplay){0};
  replay->replayed = g_ptr_array_new_with_free_func (g_free);
  replay->notes = g_ptr_array_new_with_free_func (g_free);
  ctx.base_valid = h2k_regf_base_is_valid (regf->data) && h2k_regf_base (regf)->type == 0;
  find_sequences (&ctx);
  return replay_dirty (&ctx, logs, n_logs, error);
}

void
h2k_regf_replay_clear (H2kRegfReplay *replay)
{
  g_clear_pointer (&replay->replayed, g_ptr_array_unref);
  g_clear_pointer (&replay->notes, g_ptr_array_unref);
}
