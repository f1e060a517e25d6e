/* ext-io.c - libext2fs's I/O manager over an H2kDisk.
 *
 * libext2fs opens a channel by name. A name cannot carry a disk, so the disk to be opened is handed
 * over in a thread-local variable that is set around ext2fs_open() alone; everything after that
 * lives in the channel. There is no other state outside of it.
 *
 * Reads go through a small cache of 64 KiB chunks, because the images below are compressed in
 * pieces of that size and metadata is read block by block. Writes go through to the disk at once.
 * A write of what is there already is dropped: libext2fs writes all bitmaps when one of them has
 * changed, and each cluster that is written costs room in the overlay.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext.h"

#include <errno.h>

#define CHUNK 65536u
/* A chunk can be in any of the ways of one set; sets are chosen by a hash, because the groups'
 * inode tables lie at distances that are powers of two. */
#define N_WAYS 4u
#define SET_BITS 5
#define N_CHUNKS (N_WAYS << SET_BITS)

typedef struct
{
  guint64 index; /* which chunk of the disk, G_MAXUINT64: none */
  guint8 *data;
  guint64 used; /* when it was used last */
} Chunk;

typedef struct
{
  H2kDisk *disk;
  GError *error; /* the first one since it was taken */
  guint64 budget;
  guint64 clock;
  Chunk chunks[N_CHUNKS];
} Channel;

static _Thread_local H2kDisk *disk_to_open;
static _Thread_local GError **error_of_open;

static errcode_t
channel_fail (Channel *c, GError *error)
{
  if (!c->error)
    c->error = error;
  else
    g_error_free (error);
  return EIO;
}

static gsize
chunk_length (const Channel *c, guint64 index)
{
  return (gsize)MIN ((guint64)CHUNK, c->disk->size - index * CHUNK);
}

/* The cache's entry of the chunk INDEX, or the one that is to make room for it. */
static Chunk *
find_entry (Channel *c, guint64 index)
{
  guint64 set = (index * G_GUINT64_CONSTANT (0x9e3779b97f4a7c15)) >> (64 - SET_BITS);
  Chunk *ways = &c->chunks[set * N_WAYS], *oldest = ways;

  for (guint i = 0; i < N_WAYS; i++)
    {
      if (ways[i].index == index)
        return &ways[i];
      if (ways[i].used < oldest->used)
        oldest = &ways[i];
    }
  return oldest;
}

/* The chunk INDEX, read when it is not cached. */
static const guint8 *
get_chunk (Channel *c, guint64 index, GError **error)
{
  Chunk *chunk = find_entry (c, index);

  chunk->used = ++c->clock;
  if (chunk->index == index)
    return chunk->data;
  if (!chunk->data)
    chunk->data = g_malloc (CHUNK);
  chunk->index = G_MAXUINT64;
  if (!h2k_disk_pread (c->disk, index * CHUNK, chunk_length (c, index), chunk->data, error))
    return NULL;
  chunk->index = index;
  return chunk->data;
}

static gboolean
read_bytes (Channel *c, guint64 offset, gsize length, guint8 *buffer, GError **error)
{
  if (length >= 2 * CHUNK)
    return h2k_disk_pread (c->disk, offset, length, buffer, error);

  while (length)
    {
      gsize at = offset % CHUNK;
      gsize n = MIN (length, CHUNK - at);
      const guint8 *data = get_chunk (c, offset / CHUNK, error);
      if (!data)
        return FALSE;
      memcpy (buffer, data + at, n);
      buffer += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

/* Whether the bytes are on the disk already. Looks only at what is in one chunk: metadata. */
static gboolean
is_unchanged (Channel *c, guint64 offset, gsize length, const guint8 *buffer)
{
  const guint8 *data;

  if (offset / CHUNK != (offset + length - 1) / CHUNK)
    return FALSE;
  data = get_chunk (c, offset / CHUNK, NULL);
  return data && memcmp (data + offset % CHUNK, buffer, length) == 0;
}

static void
drop_chunks (Channel *c)
{
  for (guint i = 0; i < N_CHUNKS; i++)
    c->chunks[i].index = G_MAXUINT64;
}

/* Bring the cached chunks in line with what was written; BUFFER NULL stands for zeros. */
static void
update_chunks (Channel *c, guint64 offset, guint64 length, const guint8 *buffer)
{
  guint64 first = offset / CHUNK, last = (offset + length - 1) / CHUNK;

  if (last - first >= N_CHUNKS)
    {
      drop_chunks (c);
      return;
    }
  for (guint64 index = first; index <= last; index++)
    {
      Chunk *chunk = find_entry (c, index);
      guint64 from = MAX (index * CHUNK, offset);
      guint64 to = MIN ((index + 1) * CHUNK, offset + length);
      if (chunk->index != index)
        continue;
      if (buffer)
        memcpy (chunk->data + from % CHUNK, buffer + (from - offset), to - from);
      else
        memset (chunk->data + from % CHUNK, 0, to - from);
    }
}

/* The range of COUNT blocks from BLOCK on; a negative COUNT is a number of bytes. */
static errcode_t
get_range (io_channel channel, unsigned long long block, int count, guint64 *offset, gsize *length)
{
  Channel *c = channel->private_data;
  guint64 size = (guint64)channel->block_size;

  if (c->budget-- == 0)
    {
      c->budget = 0;
      return EXT2_ET_FILESYSTEM_CORRUPTED;
    }
  *length = count < 0 ? (gsize)(-(gint64)count) : (gsize)count * size;
  if (block > c->disk->size / size || *length > c->disk->size - block * size)
    return EXT2_ET_BAD_BLOCK_NUM;
  *offset = block * size;
  return 0;
}

static errcode_t
io_read64 (io_channel channel, unsigned long long block, int count, void *data)
{
  Channel *c = channel->private_data;
  g_autoptr (GError) error = NULL;
  guint64 offset;
  gsize length;
  errcode_t err = get_range (channel, block, count, &offset, &length);

  if (err == EXT2_ET_BAD_BLOCK_NUM)
    memset (data, 0, count < 0 ? (gsize)(-(gint64)count) : (gsize)count * channel->block_size);
  if (err)
    return err;
  if (length && !read_bytes (c, offset, length, data, &error))
    return channel_fail (c, g_steal_pointer (&error));
  return 0;
}

static errcode_t
write_range (Channel *c, guint64 offset, gsize length, const void *data)
{
  g_autoptr (GError) error = NULL;

  if (length == 0 || is_unchanged (c, offset, length, data))
    return 0;
  if (!h2k_disk_pwrite (c->disk, offset, length, data, &error))
    {
      drop_chunks (c);
      return channel_fail (c, g_steal_pointer (&error));
    }
  update_chunks (c, offset, length, data);
  return 0;
}

static errcode_t
io_write64 (io_channel channel, unsigned long long block, int count, const void *data)
{
  guint64 offset;
  gsize length;
  errcode_t err = get_range (channel, block, count, &offset, &length);

  return err ? err : write_range (channel->private_data, offset, length, data);
}

static errcode_t
io_read (io_channel channel, unsigned long block, int count, void *data)
{
  return io_read64 (channel, block, count, data);
}

static errcode_t
io_write (io_channel channel, unsigned long block, int count, const void *data)
{
  return io_write64 (channel, block, count, data);
}

static errcode_t
io_write_byte (io_channel channel, unsigned long offset, int count, const void *data)
{
  Channel *c = channel->private_data;

  if (count < 0 || offset > c->disk->size || (guint)count > c->disk->size - offset)
    return EXT2_ET_BAD_BLOCK_NUM;
  return write_range (c, offset, (gsize)count, data);
}

static errcode_t
io_zeroout (io_channel channel, unsigned long long block, unsigned long long count)
{
  Channel *c = channel->private_data;
  g_autoptr (GError) error = NULL;
  guint64 size = (guint64)channel->block_size;

  if (block > c->disk->size / size || count > c->disk->size / size - block)
    return EXT2_ET_BAD_BLOCK_NUM;
  if (count == 0)
    return 0;
  if (!h2k_disk_zero (c->disk, block * size, count * size, &error))
    {
      drop_chunks (c);
      return channel_fail (c, g_steal_pointer (&error));
    }
  update_chunks (c, block * size, count * size, NULL);
  return 0;
}

/* Freed blocks are left as they are: nobody reads them, and a write would cost overlay. */
static errcode_t
io_discard (io_channel channel, unsigned long long block, unsigned long long count)
{
  return 0;
}

static errcode_t
io_set_blksize (io_channel channel, int blksize)
{
  if (blksize <= 0)
    return EXT2_ET_INVALID_ARGUMENT;
  channel->block_size = blksize;
  return 0;
}

static errcode_t
io_flush (io_channel channel)
{
  Channel *c = channel->private_data;
  g_autoptr (GError) error = NULL;

  if (h2k_disk_is_writable (c->disk) && !h2k_disk_flush (c->disk, &error))
    return channel_fail (c, g_steal_pointer (&error));
  return 0;
}

static errcode_t
io_set_option (io_channel channel, const char *option, const char *arg)
{
  return EXT2_ET_INVALID_ARGUMENT;
}

static errcode_t
io_close (io_channel channel)
{
  Channel *c = channel->private_data;

  if (--channel->refcount > 0)
    return 0;
  /* A failing open destroys the channel before anybody could ask it for the reason. */
  if (c->error && error_of_open && !*error_of_open)
    *error_of_open = g_steal_pointer (&c->error);
  g_clear_error (&c->error);
  for (guint i = 0; i < N_CHUNKS; i++)
    g_free (c->chunks[i].data);
  h2k_disk_unref (c->disk);
  g_free (c);
  free (channel->name);
  free (channel);
  return 0;
}

static errcode_t io_open (const char *name, int flags, io_channel *ret);

static struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "H2kDisk",
    .open = io_open,
    .close = io_close,
    .set_blksize = io_set_blksize,
    .read_blk = io_read,
    .write_blk = io_write,
    .flush = io_flush,
    .write_byte = io_write_byte,
    .set_option = io_set_option,
    .read_blk64 = io_read64,
    .write_blk64 = io_write64,
    .discard = io_discard,
    .zeroout = io_zeroout,
};

static errcode_t
io_open (const char *name, int flags, io_channel *ret)
{
  io_channel channel;
  Channel *c;

  /* External journals and the like: only the one disk at hand can be opened. */
  if (!disk_to_open)
    return ENODEV;
  channel = calloc (1, sizeof *channel);
  if (!channel)
    return ENOMEM;
  c = g_new0 (Channel, 1);
  c->disk = h2k_disk_ref (disk_to_open);
  c->budget = G_MAXUINT64;
  drop_chunks (c);
  channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
  channel->manager = &manager;
  channel->name = strdup (name);
  channel->block_size = 1024;
  channel->refcount = 1;
  channel->private_data = c;
  disk_to_open = NULL;
  *ret = channel;
  return 0;
}

errcode_t
h2k_ext_io_open (H2kDisk *volume, int flags, ext2_filsys *fs, GError **error)
{
  g_autoptr (GError) disk_error = NULL;
  errcode_t err;

  disk_to_open = volume;
  error_of_open = &disk_error;
  err = ext2fs_open ("volume", flags, 0, 0, &manager, fs);
  disk_to_open = NULL;
  error_of_open = NULL;
  if (err && disk_error)
    g_propagate_error (error, g_steal_pointer (&disk_error));
  return err;
}

void
h2k_ext_io_begin (ext2_filsys fs, guint64 budget)
{
  Channel *c = fs->io->private_data;

  c->budget = budget;
  g_clear_error (&c->error);
}

GError *
h2k_ext_io_take_error (ext2_filsys fs)
{
  Channel *c = fs->io->private_data;

  return g_steal_pointer (&c->error);
}
