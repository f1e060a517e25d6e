/* luks-slots.c - the key slots of LUKS: which of them are tried, and bounds on what they ask for.
 *
 * libcryptsetup opens those whose areas are encrypted by AES. For other ciphers it would need the
 * kernel's (AF_ALG or device-mapper), which may not be there: these are opened by luks-key.c.
 *
 * How long and in how much memory a passphrase is stretched is the header's choice, and a hostile
 * one chooses anything. What no machine does in time is not begun. libcryptsetup cannot be
 * interrupted: each attempt is a process of its own, which is ended when it takes too long or the
 * user gives up, and its memory with it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/luks.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <libcryptsetup.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* What no machine does within H2K_LUKS_SLOT_TIME: ten million iterations of PBKDF2 a second, or
 * 16 GiB a second filled by Argon2. */
#define MAX_ITERATIONS G_GUINT64_CONSTANT (1000000000)
#define MAX_FILLED_KIB (G_GUINT64_CONSTANT (2) << 30)
/* cryptsetup makes none with more than 4 GiB or 4 lanes. */
#define MAX_MEMORY_KIB (G_GUINT64_CONSTANT (4) << 20)
#define MAX_LANES 16u

typedef struct
{
  int number;
  struct crypt_pbkdf_type pbkdf;
  char *problem;    /* why it is not tried (again); NULL: it is */
  H2kLuksSlot *own; /* to be opened by luks-key.c; NULL: by libcryptsetup */
  H2kDisk *area;    /* of OWN: its bytes */
} Slot;

typedef struct
{
  H2kDisk *disk; /* the container, for messages */
  struct crypt_device *device;
  gsize key_size;
  GArray *slots; /* Slot, in the order in which they are tried */
  gint64 *time_left;
} Unlock;

/* --- bounds ------------------------------------------------------------------------------------
 */

char *
h2k_luks_judge (const char *kdf, guint64 iterations, guint64 memory_kib, guint64 lanes,
                guint64 host_kib)
{
  if (strcmp (kdf, "pbkdf2") == 0)
    return iterations <= MAX_ITERATIONS
               ? NULL
               : g_strdup_printf ("asks for %" G_GUINT64_FORMAT
                                  " iterations of PBKDF2, and at most %" G_GUINT64_FORMAT
                                  " are made",
                                  iterations, MAX_ITERATIONS);
  if (memory_kib > MAX_MEMORY_KIB)
    return g_strdup_printf ("asks for %" G_GUINT64_FORMAT
                            " KiB of memory (%s), and at most %" G_GUINT64_FORMAT
                            " are given, as cryptsetup does",
                            memory_kib, kdf, MAX_MEMORY_KIB);
  if (memory_kib > host_kib)
    return g_strdup_printf ("asks for %" G_GUINT64_FORMAT
                            " KiB of memory (%s), and this host has %" G_GUINT64_FORMAT " left",
                            memory_kib, kdf, host_kib);
  if (lanes > MAX_LANES)
    return g_strdup_printf ("asks for %" G_GUINT64_FORMAT " threads (%s), and at most %u are run",
                            lanes, kdf, MAX_LANES);
  if (memory_kib && iterations > MAX_FILLED_KIB / memory_kib)
    return g_strdup_printf ("asks to fill %" G_GUINT64_FORMAT " KiB of memory %" G_GUINT64_FORMAT
                            " times (%s), which takes too long on any machine",
                            memory_kib, iterations, kdf);
  return NULL;
}

/* What can be had without pushing others out; all of it where that is not told. */
static guint64
available_kib (void)
{
  g_autofree char *text = NULL;
  const char *line;

  if (!g_file_get_contents ("/proc/meminfo", &text, NULL, NULL))
    return G_MAXUINT64;
  line = strstr (text, "MemAvailable:");
  return line ? g_ascii_strtoull (line + strlen ("MemAvailable:"), NULL, 10) : G_MAXUINT64;
}

static void
slot_clear (gpointer data)
{
  Slot *slot = data;

  g_free (slot->problem);
  h2k_luks_slot_free (slot->own);
  h2k_disk_unref (slot->area);
}

/* Take SLOT, which libcryptsetup cannot open, from DISK. FALSE: an error. One that is damaged does
 * not keep the others from being tried. */
static gboolean
take_slot (Slot *slot, H2kDisk *disk, const H2kLuksHeader *header, guint64 host, GError **error)
{
  g_autofree guint8 *bytes = NULL;
  g_autoptr (GError) local = NULL;
  gsize size;

  slot->own = h2k_luks_slot_read (disk, header, (guint)slot->number, &local);
  if (!slot->own && g_error_matches (local, H2K_ERROR, H2K_ERROR_FILESYSTEM))
    {
      slot->problem = g_strdup ("is damaged");
      return TRUE;
    }
  if (!slot->own)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  slot->problem = h2k_luks_judge (slot->own->kdf, slot->own->iterations, slot->own->memory_kib,
                                  slot->own->lanes, host);
  if (!slot->problem)
    slot->problem = h2k_luks_judge ("pbkdf2", slot->own->digest_iterations, 0, 0, host);
  size = h2k_luks_slot_area (slot->own);
  bytes = g_malloc (size);
  slot->area = h2k_memory_disk_new (size);
  return h2k_disk_pread (disk, slot->own->offset, size, bytes, error)
         && h2k_disk_pwrite (slot->area, 0, size, bytes, error);
}

/* Whether libcryptsetup has what it takes to open SLOT. */
static gboolean
is_taken (struct crypt_device *device, int slot)
{
  size_t key_size;
  const char *cipher = crypt_keyslot_get_encryption (device, slot, &key_size);

  return !cipher || g_str_has_prefix (cipher, "aes-");
}

/* What SLOT asks for, and whether it gets that. FALSE: an error. */
static gboolean
look_at_slot (Unlock *unlock, Slot *slot, const H2kLuksHeader *header, guint64 host, GError **error)
{
  if (crypt_keyslot_get_pbkdf (unlock->device, slot->number, &slot->pbkdf) < 0 || !slot->pbkdf.type)
    slot->problem = g_strdup ("has no parameters that libcryptsetup understands");
  else
    slot->problem = h2k_luks_judge (slot->pbkdf.type, slot->pbkdf.iterations,
                                    slot->pbkdf.max_memory_kb, slot->pbkdf.parallel_threads, host);
  return slot->problem || is_taken (unlock->device, slot->number)
         || take_slot (slot, unlock->disk, header, host, error);
}

/* Those that are to be tried first come first; those that are to be ignored are left out. FALSE: an
 * error. */
static gboolean
find_slots (Unlock *unlock, const H2kLuksHeader *header, GError **error)
{
  static const crypt_keyslot_priority order[]
      = {CRYPT_SLOT_PRIORITY_PREFER, CRYPT_SLOT_PRIORITY_NORMAL};
  int n = crypt_keyslot_max (crypt_get_type (unlock->device));
  guint64 host = available_kib ();
  gboolean ok = TRUE;

  unlock->slots = g_array_new (FALSE, TRUE, sizeof (Slot));
  g_array_set_clear_func (unlock->slots, slot_clear);
  for (guint pass = 0; pass < G_N_ELEMENTS (order); pass++)
    for (int i = 0; ok && i < n; i++)
      {
        crypt_keyslot_info status = crypt_keyslot_status (unlock->device, i);
        Slot slot = {.number = i};

        if ((status != CRYPT_SLOT_ACTIVE && status != CRYPT_SLOT_ACTIVE_LAST)
            || crypt_keyslot_get_priority (unlock->device, i) != order[pass])
          continue;
        ok = look_at_slot (unlock, &slot, header, host, error);
        g_array_append_val (unlock->slots, slot);
      }
  return ok;
}

/* What SLOT asks for, for people. The caller's. */
static char *
describe (const Slot *slot)
{
  g_autofree char *kdf = h2k_escape_text (slot->pbkdf.type, -1);

  if (strcmp (kdf, "pbkdf2") == 0)
    return g_strdup_printf ("%u iterations of PBKDF2", slot->pbkdf.iterations);
  return g_strdup_printf ("%s with %u KiB of memory filled %u times by %u threads", kdf,
                          slot->pbkdf.max_memory_kb, slot->pbkdf.iterations,
                          slot->pbkdf.parallel_threads);
}

/* --- one attempt -------------------------------------------------------------------------------
 */

/* What the child tells; the key follows it. */
typedef struct
{
  int result; /* libcryptsetup's */
  gsize key_size;
} Answer;

static void
log_nothing (int level, const char *message, void *data)
{
  (void)level;
  (void)message;
  (void)data;
}

/* It gets none of the terminal's signals, which the parent acts upon; it ends with its parent; and
 * it is the first to go when memory runs out. Its memory holds keys: it leaves no core file. */
static gboolean
prepare_child (pid_t parent)
{
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
  const struct rlimit none = {0, 0};
  int fd;

  for (guint i = 0; i < G_N_ELEMENTS (signals); i++)
    signal (signals[i], SIG_IGN);
  setrlimit (RLIMIT_CORE, &none);
  fd = open ("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0)
    {
      (void)!write (fd, "1000", 4);
      close (fd);
    }
  return prctl (PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid () == parent;
}

/* Other threads may have held locks when the process was copied: nothing is called here that shares
 * any with them. (malloc is in order; the GNU C library sees to that.) */
static void G_GNUC_NORETURN
run_child (const Unlock *unlock, const Slot *slot, const char *passphrase, gsize length, int fd)
{
  guint8 message[sizeof (Answer) + H2K_LUKS_MAX_KEY], *key = message + sizeof (Answer);
  Answer answer = {.key_size = unlock->key_size};

  crypt_set_log_callback (unlock->device, log_nothing, NULL);
  if (slot->own)
    {
      answer.key_size = slot->own->volume_key_size;
      answer.result = h2k_luks_slot_open (slot->own, slot->area, passphrase, length, key);
    }
  else
    answer.result = crypt_volume_key_get (unlock->device, slot->number, (char *)key,
                                          &answer.key_size, passphrase, length);
  if (answer.result < 0 || answer.key_size > unlock->key_size)
    answer.key_size = 0;
  memcpy (message, &answer, sizeof answer);
  /* Less than PIPE_BUF: written at once. */
  _exit (write (fd, message, sizeof answer + answer.key_size) < 0);
}

static pid_t
start_child (const Unlock *unlock, const Slot *slot, GBytes *secret, int *fd, GError **error)
{
  gsize length;
  const char *passphrase = g_bytes_get_data (secret, &length);
  pid_t parent = getpid (), child;
  int ends[2];

  if (pipe2 (ends, O_CLOEXEC) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_FAILED, errno, "cannot make a pipe");
      return -1;
    }
  child = fork ();
  if (child == 0)
    {
      if (prepare_child (parent))
        run_child (unlock, slot, passphrase, length, ends[1]);
      _exit (1);
    }
  if (child < 0)
    {
      h2k_set_errno (error, H2K_ERROR_FAILED, errno, "cannot start a process");
      close (ends[0]);
    }
  close (ends[1]);
  *fd = ends[0];
  return child;
}

/* Wait until FD can be read. FALSE: not in time, or cancelled. */
static gboolean
wait_for (int fd, gint64 deadline, GCancellable *cancellable)
{
  GPollFD polls[2] = {{.fd = fd, .events = G_IO_IN}};
  gboolean have_cancel = cancellable != NULL && g_cancellable_make_pollfd (cancellable, &polls[1]);
  gint64 left;

  while ((left = deadline - g_get_monotonic_time ()) > 0 && polls[0].revents == 0
         && !g_cancellable_is_cancelled (cancellable))
    g_poll (polls, have_cancel ? 2 : 1, (int)(left / 1000) + 1);
  if (have_cancel)
    g_cancellable_release_fd (cancellable);
  return polls[0].revents != 0;
}

/* The child's answer and its key, into DATA, which has room for H2K_LUKS_MAX_KEY. FALSE: it ended
 * without one. */
static gboolean
read_answer (int fd, Answer *answer, guint8 *data)
{
  guint8 message[sizeof *answer + H2K_LUKS_MAX_KEY];
  ssize_t n;
  gboolean ok;

  do
    n = read (fd, message, sizeof message);
  while (n < 0 && errno == EINTR);
  ok = n >= (ssize_t)sizeof *answer;
  if (ok)
    {
      memcpy (answer, message, sizeof *answer);
      ok = answer->key_size == (gsize)n - sizeof *answer;
    }
  if (ok)
    memcpy (data, message + sizeof *answer, answer->key_size);
  explicit_bzero (message, sizeof message);
  return ok;
}

static void
end_child (pid_t child)
{
  int status;

  kill (child, SIGKILL);
  while (waitpid (child, &status, 0) < 0 && errno == EINTR)
    ;
}

/* What an attempt said: a key of *KEY_SIZE bytes in DATA; else SLOT has a problem if it is not the
 * secret that is wrong. FALSE: an error. */
static gboolean
try_slot (Unlock *unlock, Slot *slot, GBytes *secret, guint8 *data, gsize *key_size, GError **error)
{
  GCancellable *cancellable = g_cancellable_get_current ();
  gint64 start = g_get_monotonic_time ();
  gint64 limit = MIN (*unlock->time_left, H2K_LUKS_SLOT_TIME);
  g_autofree char *asked = describe (slot);
  Answer answer = {0};
  gboolean ended, told;
  pid_t child;
  int fd;

  child = start_child (unlock, slot, secret, &fd, error);
  if (child < 0)
    return FALSE;
  ended = wait_for (fd, start + limit, cancellable);
  told = ended && read_answer (fd, &answer, data);
  end_child (child);
  close (fd);
  *unlock->time_left -= g_get_monotonic_time () - start;
  if (h2k_is_cancelled (cancellable, error))
    return FALSE;
  *key_size = answer.key_size;
  if (!ended)
    slot->problem = g_strdup_printf ("asks for %s, which did not end in the %.0f seconds that "
                                     "there are for it",
                                     asked, (double)limit / G_TIME_SPAN_SECOND);
  else if (!told)
    slot->problem = g_strdup_printf (
        "asks for %s, and the process that did it was ended (is there enough memory?)", asked);
  else if (answer.result == -ENOMEM)
    slot->problem
        = g_strdup_printf ("asks for %s, which is more memory than can be had here", asked);
  else if (answer.result < 0 && answer.result != -EPERM && answer.result != -ENOENT)
    slot->problem = g_strdup_printf ("cannot be opened: %s (has it a cipher or hash that is not "
                                     "there?)",
                                     g_strerror (-answer.result));
  return TRUE;
}

/* --- all of them -------------------------------------------------------------------------------
 */

/* What was not tried is only of interest when nothing else helped. */
static void
set_problems (const Unlock *unlock, GError **error)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < unlock->slots->len; i++)
    {
      const Slot *slot = &g_array_index (unlock->slots, Slot, i);
      if (slot->problem)
        g_string_append_printf (text, "%skey slot %d %s", text->len ? "; " : "", slot->number,
                                slot->problem);
    }
  if (text->len)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: the LUKS container was not opened: %s. Give the key of another key slot, or "
                 "have the guest make this one anew with cryptsetup luksConvertKey",
                 unlock->disk->name, text->str);
}

static GBytes *
try_secrets (Unlock *unlock, GPtrArray *secrets, GError **error)
{
  guint8 *data;
  g_autoptr (GBytes) key = h2k_secret_new (H2K_LUKS_MAX_KEY, &data);

  for (guint k = 0; k < secrets->len; k++)
    for (guint i = 0; i < unlock->slots->len; i++)
      {
        Slot *slot = &g_array_index (unlock->slots, Slot, i);
        gsize size = 0;

        if (slot->problem)
          continue;
        if (*unlock->time_left <= 0)
          slot->problem = g_strdup ("was not tried with each key: the time for that is over");
        else if (!try_slot (unlock, slot, secrets->pdata[k], data, &size, error))
          return NULL;
        if (size)
          return g_bytes_new_from_bytes (key, 0, size);
      }
  set_problems (unlock, error);
  return NULL;
}

/* A private file with the header and the key slots, sparse, as large as the volume: libcryptsetup
 * compares. -1 and an error, or the descriptor. */
static int
copy_header (H2kDisk *disk, const H2kLuksHeader *header, GError **error)
{
  g_autofree guint8 *buffer = g_malloc (65536);
  int fd = memfd_create ("hyper2kvm-luks", MFD_CLOEXEC), failure = 0;
  gboolean ok = fd >= 0 && ftruncate (fd, (off_t)disk->size) == 0;

  if (!ok)
    h2k_set_errno (error, H2K_ERROR_FAILED, errno, "cannot make a copy of the LUKS header");
  for (guint64 at = 0; ok && at < header->header_size;)
    {
      gsize n = (gsize)MIN (65536, header->header_size - at);
      ok = h2k_disk_pread (disk, at, n, buffer, error);
      if (ok && !h2k_is_zero (buffer, n))
        failure = h2k_pwrite_full (fd, buffer, n, at);
      if (failure)
        h2k_set_errno (error, H2K_ERROR_FAILED, failure, "cannot make a copy of the LUKS header");
      ok = ok && !failure;
      at += n;
    }
  if (ok)
    return fd;
  if (fd >= 0)
    close (fd);
  return -1;
}

static void
log_message (int level, const char *message, void *data)
{
  g_autofree char *safe = g_strchomp (h2k_escape_text (message, -1));

  g_debug ("libcryptsetup: %s", safe);
}

static gboolean
check_device (const Unlock *unlock, const H2kLuksHeader *header, GError **error)
{
  int size = crypt_get_volume_key_size (unlock->device);

  if (size <= 0 || size > (int)H2K_LUKS_MAX_KEY)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                 "%s: its LUKS header is damaged: the key's size", unlock->disk->name);
  else if (header->digest_iterations > MAX_ITERATIONS)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: the LUKS container was not opened: the digest of its key asks for "
                 "%" G_GUINT64_FORMAT " iterations of PBKDF2, and at most %" G_GUINT64_FORMAT
                 " are made",
                 unlock->disk->name, header->digest_iterations, MAX_ITERATIONS);
  else
    return TRUE;
  return FALSE;
}

static GBytes *
unlock_device (struct crypt_device *device, H2kDisk *disk, const H2kLuksHeader *header,
               GPtrArray *secrets, gint64 *time_left, GError **error)
{
  Unlock unlock = {.disk = disk, .device = device, .time_left = time_left};
  GBytes *key = NULL;

  if (!check_device (&unlock, header, error))
    return NULL;
  unlock.key_size = (gsize)crypt_get_volume_key_size (device);
  h2k_luks_start_gcrypt ();
  if (find_slots (&unlock, header, error))
    key = try_secrets (&unlock, secrets, error);
  g_array_unref (unlock.slots);
  return key;
}

GBytes *
h2k_luks_unlock (H2kDisk *disk, const H2kLuksHeader *header, GPtrArray *secrets, gint64 *time_left,
                 GError **error)
{
  int fd = copy_header (disk, header, error), result;
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  struct crypt_device *device = NULL;
  GBytes *key = NULL;

  if (fd < 0)
    return NULL;
  result = crypt_init (&device, path);
  if (result >= 0)
    {
      crypt_set_log_callback (device, log_message, NULL);
      result = crypt_load (device, header->version == 1 ? CRYPT_LUKS1 : CRYPT_LUKS2, NULL);
    }
  if (result >= 0)
    key = unlock_device (device, disk, header, secrets, time_left, error);
  else
    h2k_set_errno (error, H2K_ERROR_FILESYSTEM, -result,
                   "%s: libcryptsetup does not take its LUKS header", disk->name);
  crypt_free (device);
  close (fd);
  return key;
}
