/* test-boot.c - QEMU is started, watched, judged and ended rightly; the disks stay untouched.
 *
 * The guests are boot sectors made here: each writes a text to the first serial port and then
 * halts, resets or powers off. Emulation is enough for them. One case is one QEMU of a second.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/boot.h"
#include "boot/kvm-probe.h"
#include "boot/kvm.h"
#include "copy/copy.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define DISK_SIZE (1 << 20)

static char *scratch; /* this program's directory */
static char *temp;    /* given to the boot test; empty before and after */

typedef enum
{
  THEN_HALT,
  THEN_RESET,
  THEN_POWER_OFF,
} Ending;

static gboolean
have_qemu (void)
{
  g_autofree char *program = g_find_program_in_path ("qemu-system-x86_64");

  if (program == NULL)
    g_test_skip ("qemu-system-x86_64 is not installed");
  return program != NULL;
}

/* A disk whose boot sector writes TEXT to the first serial port, or with SCREEN by the BIOS to the
 * screen, and ends as ENDING says. */
static char *
make_disk_for (gboolean screen, const char *name, const char *text, Ending ending)
{
  static const guint8 print[] = {
      0xfa,             /*       cli            */
      0x31, 0xc0,       /*       xor ax, ax     */
      0x8e, 0xd8,       /*       mov ds, ax     */
      0xbe, 0x40, 0x7c, /*       mov si, 0x7c40 */
      0xac,             /* next: lodsb          */
      0x84, 0xc0,       /*       test al, al    */
      0x74, 0x06,       /*       jz done        */
      0xba, 0xf8, 0x03, /*       mov dx, 0x3f8  */
      0xee,             /*       out dx, al     */
      0xeb, 0xf5,       /*       jmp next       */
  };
  static const guint8 teletype[] = {
      0xb4, 0x0e, /*       mov ah, 0xe    */
      0xcd, 0x10, /*       int 0x10       */
  };
  static const guint8 endings[][11] = {
      [THEN_HALT] = {0xf4, 0xeb, 0xfd}, /* done: hlt; jmp done */
      /* done: mov al, 6; mov dx, 0xcf9; out dx, al; hlt */
      [THEN_RESET] = {0xb0, 0x06, 0xba, 0xf9, 0x0c, 0xee, 0xf4},
      /* done: mov ax, 0x2000; mov dx, 0x604; out dx, ax; hlt: S5 in the chipset's PM1a control */
      [THEN_POWER_OFF] = {0xb8, 0x00, 0x20, 0xba, 0x04, 0x06, 0xef, 0xf4},
  };
  char *path = g_build_filename (scratch, name, NULL);
  g_autofree guint8 *image = g_malloc0 (DISK_SIZE);

  memcpy (image, print, sizeof print);
  if (screen)
    memcpy (image + 13, teletype, sizeof teletype);
  memcpy (image + sizeof print, endings[ending], sizeof endings[ending]);
  g_assert_cmpuint (strlen (text), <, 510 - 0x40);
  memcpy (image + 0x40, text, strlen (text));
  image[510] = 0x55;
  image[511] = 0xaa;
  g_assert_true (g_file_set_contents (path, (char *)image, DISK_SIZE, NULL));
  return path;
}

static char *
make_disk (const char *name, const char *text, Ending ending)
{
  return make_disk_for (FALSE, name, text, ending);
}

static char *
checksum (const char *path)
{
  g_autofree char *data = NULL;
  gsize length;

  g_assert_true (g_file_get_contents (path, &data, &length, NULL));
  return g_compute_checksum_for_data (G_CHECKSUM_SHA256, (guchar *)data, length);
}

/* Processes whose parent is this one: QEMU must not be among them after a test. */
static guint
count_children (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc", 0, NULL);
  const char *name;
  guint n = 0;

  while ((name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename ("/proc", name, "stat", NULL);
      g_autofree char *stat = NULL;
      char *end;
      int parent = 0;

      if (g_ascii_isdigit (*name) && g_file_get_contents (path, &stat, NULL, NULL)
          && (end = strrchr (stat, ')')) != NULL && sscanf (end, ") %*c %d", &parent) == 1
          && parent == getpid ())
        n++;
    }
  return n;
}

static guint
count_files (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir) != NULL)
    n++;
  return n;
}

static void
remove_flat (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *file = g_build_filename (path, name, NULL);

      g_remove (file);
    }
  g_rmdir (path);
}

static H2kBootOptions *
make_options (void)
{
  H2kBootOptions *options = h2k_boot_options_new ();

  options->accel = g_strdup ("tcg");
  options->temp_dir = g_strdup (temp);
  options->evidence = H2K_EVIDENCE_LOGIN;
  options->memory_mib = 64;
  options->vcpus = 1;
  options->timeout = 60;
  return options;
}

static gboolean
boot (const char *path, const char *format, H2kBus bus, const H2kBootOptions *options,
      GCancellable *cancellable, H2kBootResult **result, GError **error)
{
  g_autoptr (H2kDomain) domain = h2k_domain_new ("boot test");
  g_autofree char *before = checksum (path), *after = NULL;
  gboolean ok;

  domain->memory_mib = options->memory_mib;
  domain->vcpus = options->vcpus;
  h2k_domain_add_disk (domain, path, format, bus);
  h2k_domain_add_nic (domain, "00:50:56:01:02:03", NULL);
  ok = h2k_boot_domain (domain, options, cancellable, result, error);
  after = checksum (path);
  g_assert_cmpstr (before, ==, after);
  g_assert_cmpuint (count_children (), ==, 0);
  g_assert_cmpuint (count_files (temp), ==, 0);
  return ok;
}

/* --- verdicts --------------------------------------------------------------------------------- */

static void
test_pass (gconstpointer data)
{
  H2kBus bus = (H2kBus)GPOINTER_TO_INT (data);
  g_autofree char *path = NULL;
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;

  if (!have_qemu ())
    return;
  path = make_disk ("login,1.raw", "\r\nTiny OS\r\n\r\ntiny login: ", THEN_HALT);
  g_assert_true (boot (path, "raw", bus, options, NULL, &result, &error));
  g_assert_no_error (error);
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_PASS);
  g_assert_cmpstr (result->evidence, ==, "tiny login:");
  g_assert_cmpstr (result->accel, ==, "tcg");
  g_assert_cmpstr (result->accel_why, ==, "emulation was asked for");
  g_assert_cmpstr (result->console, ==, "Tiny OS\n\ntiny login:");
  g_assert_null (result->network);
  g_assert_cmpuint (result->reboots, ==, 0);
  g_assert_cmpfloat (result->seconds, >, 0);
}

static void
test_pass_qcow2 (void)
{
  g_autofree char *raw = NULL, *path = NULL;
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kOutput) output = NULL;
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;
  H2kOutputOptions format = {.format = "qcow2"};
  H2kCopyOptions copy = {.threads = 1};

  if (!have_qemu ())
    return;
  raw = make_disk ("login.raw", "tiny login: ", THEN_HALT);
  path = g_build_filename (scratch, "login.qcow2", NULL);
  disk = h2k_disk_open (raw, "raw", &error);
  output = h2k_output_new (path, DISK_SIZE, &format, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (h2k_copy (disk, output, &copy, NULL, NULL, &error));
  g_assert_true (h2k_output_commit (output, &error));
  g_assert_true (boot (path, "qcow2", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
  g_assert_no_error (error);
}

static void
test_failures (void)
{
  static const struct
  {
    const char *text, *part;
  } cases[] = {
      {"[    1.0] Kernel panic - not syncing: VFS\r\nmore\r\n", "panicked"},
      {"error: no such device: 1.\r\ngrub rescue> ", "rescue prompt"},
      {"\x1b[31mALERT!  /dev/sda1 does not exist.  Dropping to a shell!\r\n(initramfs) ",
       "run the repairs"},
  };

  if (!have_qemu ())
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = make_disk ("failure.raw", cases[i].text, THEN_HALT);
      g_autoptr (H2kBootOptions) options = make_options ();
      g_autoptr (H2kBootResult) result = NULL;
      g_autoptr (GError) error = NULL;

      g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_BOOT);
      g_assert_cmpint (result->verdict, ==, H2K_VERDICT_FAILURE);
      g_assert_nonnull (strstr (error->message, cases[i].part));
      g_assert_nonnull (strstr (error->message, path));
      g_assert_null (strchr (error->message, 0x1b));
      g_assert_nonnull (result->evidence);
    }
}

/* GRUB's rescue prompt and the MBR's messages appear on the screen alone. */
static void
test_screen (void)
{
  static const struct
  {
    const char *text, *part;
  } cases[] = {
      {"error: no such device: 0b8cd0c1.\r\nEntering rescue mode...\r\ngrub rescue> ",
       "rescue prompt"},
      {"\r\nMissing operating system", "MBR"},
  };

  if (!have_qemu ())
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = make_disk_for (TRUE, "screen.raw", cases[i].text, THEN_HALT);
      g_autoptr (H2kBootOptions) options = make_options ();
      g_autoptr (H2kBootResult) result = NULL;
      g_autoptr (GError) error = NULL;

      g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_BOOT);
      g_assert_cmpint (result->verdict, ==, H2K_VERDICT_FAILURE);
      g_assert_nonnull (strstr (error->message, cases[i].part));
      g_assert_nonnull (strstr (result->console, "Booting from Hard Disk"));
    }
}

static void
test_garbage (void)
{
  g_autofree char *path = g_build_filename (scratch, "garbage.raw", NULL);
  g_autofree char *data = g_malloc (DISK_SIZE);
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  g_autoptr (GError) error = NULL;

  if (!have_qemu ())
    return;
  for (gsize i = 0; i < DISK_SIZE; i++)
    data[i] = (char)g_rand_int (rand);
  data[510] = 0;
  g_assert_true (g_file_set_contents (path, data, DISK_SIZE, NULL));
  options->evidence = H2K_EVIDENCE_AUTO;
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_BOOT);
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_FAILURE);
  g_assert_nonnull (strstr (error->message, "nothing to boot"));
}

static void
test_timeout (void)
{
  static const struct
  {
    const char *text, *part;
  } cases[] = {
      {"", "console=ttyS0"},
      {"[    1.000000] Linux version 6.1\r\n", "serial-getty@ttyS0"},
      {"[   90.000000] dracut-initqueue[3]: Warning: dracut-initqueue timeout\r\n", "root="},
      {"host login: root\r\nPassword: ", "login prompt"},
  };

  if (!have_qemu ())
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = make_disk ("silent.raw", cases[i].text, THEN_HALT);
      g_autoptr (H2kBootOptions) options = make_options ();
      g_autoptr (H2kBootResult) result = NULL;
      g_autoptr (GError) error = NULL;

      options->timeout = 4;
      g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_BOOT);
      g_assert_cmpint (result->verdict, ==, H2K_VERDICT_TIMEOUT);
      g_assert_cmpfloat (result->seconds, <, 6);
      if (strstr (error->message, cases[i].part) == NULL)
        g_error ("%s", error->message);
    }
}

static void
test_reset_loop (void)
{
  g_autofree char *path = NULL;
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;

  if (!have_qemu ())
    return;
  path = make_disk ("reset.raw", "again\r\n", THEN_RESET);
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_BOOT);
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_FAILURE);
  g_assert_cmpuint (result->reboots, >, 3);
  g_assert_nonnull (strstr (error->message, "restarted"));
}

static void
test_power_off (void)
{
  g_autofree char *path = NULL;
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;

  if (!have_qemu ())
    return;
  path = make_disk ("off.raw", "bye\r\n", THEN_POWER_OFF);
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_BOOT);
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_STOPPED);
  g_assert_nonnull (strstr (error->message, "powered off"));
}

/* One prompt is no proof of a reboot. */
static void
test_reboot_that_does_not_happen (void)
{
  g_autofree char *path = NULL;
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;

  if (!have_qemu ())
    return;
  path = make_disk ("halts.raw", "tiny login: ", THEN_HALT);
  options->reboot = TRUE;
  options->timeout = 4;
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_BOOT);
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_TIMEOUT);
  g_assert_nonnull (strstr (error->message, "not again after a reboot"));
}

/* --- what is around ----------------------------------------------------------------------------
 */

static gpointer
cancel_later (gpointer data)
{
  g_usleep (1500 * 1000);
  g_cancellable_cancel (data);
  return NULL;
}

static void
test_cancel (void)
{
  g_autofree char *path = NULL;
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL, early = NULL;
  gint64 start;
  GThread *thread;

  if (!have_qemu ())
    return;
  path = make_disk ("silent.raw", "", THEN_HALT);
  start = g_get_monotonic_time ();
  thread = g_thread_new ("cancel", cancel_later, cancellable);
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, cancellable, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_CANCELLED);
  g_assert_cmpint (g_get_monotonic_time () - start, <, 10 * G_TIME_SPAN_SECOND);
  g_thread_join (thread);

  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, cancellable, NULL, &early));
  g_assert_error (early, H2K_ERROR, H2K_ERROR_CANCELLED);
}

static void
test_qemu_missing (void)
{
  g_autofree char *path = make_disk ("login.raw", "tiny login: ", THEN_HALT);
  g_autofree char *search = g_strdup (g_getenv ("PATH"));
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;

  g_setenv ("PATH", scratch, TRUE);
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
  g_setenv ("PATH", search, TRUE);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_TOOL);
  g_assert_nonnull (strstr (error->message, "install"));
  g_assert_null (result);
}

/* A QEMU that ends at once with a message. */
static void
test_qemu_broken (void)
{
  g_autofree char *path = make_disk ("login.raw", "tiny login: ", THEN_HALT);
  g_autofree char *search = g_strdup (g_getenv ("PATH"));
  g_autofree char *fake = g_build_filename (scratch, "qemu-system-x86_64", NULL);
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (
      g_file_set_contents (fake, "#!/bin/sh\necho out of order >&2\nexit 1\n", -1, NULL));
  g_assert_cmpint (g_chmod (fake, 0755), ==, 0);
  g_setenv ("PATH", scratch, TRUE);
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, &result, &error));
  g_setenv ("PATH", search, TRUE);
  g_unlink (fake);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_TOOL);
  g_assert_nonnull (strstr (error->message, "out of order"));
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_STOPPED);
}

static void
test_bad_input (void)
{
  g_autofree char *missing = g_build_filename (scratch, "missing.raw", NULL);
  g_autofree char *path = make_disk ("login.raw", "tiny login: ", THEN_HALT);
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kDomain) domain = h2k_domain_new ("x");
  g_autoptr (GError) error = NULL;

  h2k_domain_add_disk (domain, missing, "raw", H2K_BUS_VIRTIO_BLK);
  g_assert_false (h2k_boot_domain (domain, options, NULL, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_clear_error (&error);

  g_assert_false (boot (path, "vmdk", H2K_BUS_VIRTIO_BLK, options, NULL, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
  g_clear_error (&error);

  options->evidence = H2K_EVIDENCE_MARKER;
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_BOOT);
  g_assert_nonnull (strstr (error->message, "marker"));
  g_clear_error (&error);

  g_free (options->accel);
  options->accel = g_strdup ("magic");
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_USAGE);
  g_clear_error (&error);

  g_free (options->accel);
  options->accel = g_strdup ("tcg");
  g_free (options->temp_dir);
  options->temp_dir = g_strdup (missing);
  g_assert_false (boot (path, "raw", H2K_BUS_VIRTIO_BLK, options, NULL, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
}

static void
count_progress (const char *phase, guint64 done, guint64 total, gpointer data)
{
  guint *calls = data;

  g_assert_cmpstr (phase, ==, "boot");
  g_assert_cmpuint (done, <=, total);
  (*calls)++;
}

static void
test_public (void)
{
  g_autofree char *first = NULL, *second = NULL, *evidence = NULL;
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = NULL;
  JsonObject *object;
  guint calls = 0;

  if (!have_qemu ())
    return;
  first = make_disk ("first.raw", "tiny login: ", THEN_HALT);
  second = make_disk ("second.raw", "wrong disk\r\n", THEN_HALT);
  options->evidence = H2K_EVIDENCE_AUTO;
  options->progress = count_progress;
  options->progress_data = &calls;
  g_ptr_array_add (options->disks, g_strdup (first));
  g_ptr_array_add (options->disks, g_strdup (second));
  g_ptr_array_add (options->macs, g_strdup ("52:54:00:01:02:03"));
  g_assert_true (h2k_boot_test (options, NULL, &evidence, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (calls, >, 0);
  node = json_from_string (evidence, &error);
  g_assert_no_error (error);
  object = json_node_get_object (node);
  g_assert_cmpstr (json_object_get_string_member (object, "verdict"), ==, "pass");
  g_assert_cmpstr (json_object_get_string_member (object, "evidence"), ==, "tiny login:");
  g_assert_cmpuint (count_files (temp), ==, 0);

  g_clear_pointer (&evidence, g_free);
  g_ptr_array_add (options->macs, g_strdup ("not a mac"));
  g_assert_false (h2k_boot_test (options, NULL, &evidence, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_USAGE);
  g_assert_null (evidence);
}

/* The program that test_killed() kills: this one, told so by its environment. */
static int
be_killed (const char *path)
{
  g_autoptr (H2kBootOptions) options = make_options ();
  g_autoptr (H2kDomain) domain = h2k_domain_new ("victim");

  domain->memory_mib = 64;
  h2k_domain_add_disk (domain, path, "raw", H2K_BUS_VIRTIO_BLK);
  return h2k_boot_domain (domain, options, NULL, NULL, NULL) ? 0 : 1;
}

/* The process whose command line has NEEDLE, a path below our own directory; 0: none. */
static int
find_process (const char *needle)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc", 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename ("/proc", name, "cmdline", NULL);
      g_autofree char *text = NULL;
      gsize length = 0;

      if (g_ascii_isdigit (*name) && g_file_get_contents (path, &text, &length, NULL) && length > 0
          && memmem (text, length, needle, strlen (needle)) != NULL)
        return atoi (name);
    }
  return 0;
}

/* Whether find_process() comes to EXPECTED (0: none, 1: one) within ten seconds. */
static gboolean
wait_for_process (const char *needle, gboolean expected)
{
  for (guint i = 0; i < 200; i++)
    {
      if ((find_process (needle) != 0) == expected)
        return TRUE;
      g_usleep (50 * 1000);
    }
  return FALSE;
}

/* Even when this program is killed outright, QEMU goes with it. */
static void
test_killed (void)
{
  g_autofree char *path = NULL, *before = NULL, *after = NULL;
  g_autofree char *overlays = g_build_filename (temp, "hyper2kvm-boot-", NULL);
  g_autofree char *self = g_file_read_link ("/proc/self/exe", NULL);
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (
      G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
  g_autoptr (GSubprocess) victim = NULL;
  g_autoptr (GDir) dir = NULL;
  g_autoptr (GError) error = NULL;
  const char *name;

  if (!have_qemu ())
    return;
  path = make_disk ("silent.raw", "", THEN_HALT);
  before = checksum (path);
  g_subprocess_launcher_setenv (launcher, "H2K_TEST_VICTIM", path, TRUE);
  g_subprocess_launcher_setenv (launcher, "H2K_TEST_TEMP", temp, TRUE);
  victim = g_subprocess_launcher_spawn (launcher, &error, self, NULL);
  g_assert_no_error (error);
  g_assert_true (wait_for_process (overlays, TRUE));
  g_subprocess_send_signal (victim, SIGKILL);
  g_subprocess_wait (victim, NULL, NULL);
  g_assert_true (wait_for_process (overlays, FALSE));
  after = checksum (path);
  g_assert_cmpstr (before, ==, after);
  /* The overlay's directory is all that is left; the next tests want it gone. */
  dir = g_dir_open (temp, 0, NULL);
  while ((name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *left = g_build_filename (temp, name, NULL);

      g_assert_true (g_str_has_prefix (left, overlays));
      remove_flat (left);
    }
}

/* --- KVM -------------------------------------------------------------------------------------- */

/* The probe's guest runs to its end where the CPU is known to work. */
static void
test_probe_passes_emulated (void)
{
  const char *why = NULL;

  if (!have_qemu ())
    return;
  if (!h2k_accel_probe ("qemu-system-x86_64", "tcg", &why))
    g_error ("%s", why);
  g_assert_null (why);
  g_assert_cmpuint (count_children (), ==, 0);
}

static void
test_probe_fails (void)
{
  g_autofree char *hangs = g_build_filename (scratch, "hangs", NULL);
  const char *why = NULL;

  g_assert_false (h2k_accel_probe ("/nonexistent/qemu", "tcg", &why));
  g_assert_nonnull (why);
  g_assert_false (h2k_accel_probe ("/bin/false", "tcg", &why));
  g_assert_nonnull (why);
  /* Does not end by itself, as a guest under broken KVM. */
  g_assert_true (g_file_set_contents (hangs, "#!/bin/sh\nexec sleep 100\n", -1, NULL));
  g_assert_cmpint (g_chmod (hangs, 0755), ==, 0);
  g_assert_false (h2k_accel_probe (hangs, "tcg", &why));
  g_assert_nonnull (strstr (why, "hung"));
  g_assert_cmpuint (count_children (), ==, 0);
}

static void
test_kvm_answer (void)
{
  const char *why = NULL, *again = NULL;
  gboolean works = h2k_kvm_works (&why);

  g_test_message ("KVM: %s", works ? "works" : why);
  g_assert_true (works == (why == NULL));
  g_assert_true (h2k_kvm_works (&again) == works);
  g_assert_true (why == again);
  if (!g_file_test ("/dev/kvm", G_FILE_TEST_EXISTS))
    g_assert_false (works);
}

/* The bytes in kvm-probe.h are what kvm-probe.S assembles to. */
static void
test_probe_source (void)
{
  g_autofree char *as = g_find_program_in_path ("as"), *ld = g_find_program_in_path ("ld");
  g_autofree char *source
      = g_test_build_filename (G_TEST_DIST, "..", "src", "boot", "kvm-probe.S", NULL);
  g_autofree char *object = g_build_filename (scratch, "probe.o", NULL);
  g_autofree char *binary = g_build_filename (scratch, "probe.bin", NULL);
  const char *assemble[] = {as, "--64", "-o", object, source, NULL};
  const char *link[] = {ld,          "-m",     "elf_x86_64", "-Ttext", "0x7c00", "-e", "start",
                        "--oformat", "binary", "-o",         binary,   object,   NULL};
  g_autoptr (GSubprocess) assembler = NULL, linker = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *data = NULL;
  gsize length;

#if !defined __x86_64__
  g_test_skip ("the assembler here is not for x86");
  return;
#endif
  if (as == NULL || ld == NULL)
    {
      g_test_skip ("binutils are not installed");
      return;
    }
  assembler = g_subprocess_newv (assemble, G_SUBPROCESS_FLAGS_NONE, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_wait_check (assembler, NULL, NULL));
  linker = g_subprocess_newv (link, G_SUBPROCESS_FLAGS_NONE, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_wait_check (linker, NULL, NULL));
  g_assert_true (g_file_get_contents (binary, &data, &length, NULL));
  g_assert_cmpuint (length, ==, 512);
  g_assert_cmpmem (data, sizeof h2k_kvm_probe, h2k_kvm_probe, sizeof h2k_kvm_probe);
  g_assert_true (h2k_is_zero (data + sizeof h2k_kvm_probe, 510 - sizeof h2k_kvm_probe));
}

int
main (int argc, char **argv)
{
  int failed;

  if (g_getenv ("H2K_TEST_VICTIM") != NULL)
    {
      temp = g_strdup (g_getenv ("H2K_TEST_TEMP"));
      return be_killed (g_getenv ("H2K_TEST_VICTIM"));
    }
  g_test_init (&argc, &argv, NULL);
  scratch = g_dir_make_tmp ("h2k-boot-XXXXXX", NULL);
  temp = g_build_filename (scratch, "temp", NULL);
  g_assert_cmpint (g_mkdir (temp, 0700), ==, 0);
  g_test_add_data_func ("/boot/pass/virtio-blk", GINT_TO_POINTER (H2K_BUS_VIRTIO_BLK), test_pass);
  g_test_add_data_func ("/boot/pass/virtio-scsi", GINT_TO_POINTER (H2K_BUS_VIRTIO_SCSI), test_pass);
  g_test_add_data_func ("/boot/pass/sata", GINT_TO_POINTER (H2K_BUS_SATA), test_pass);
  g_test_add_func ("/boot/pass/qcow2", test_pass_qcow2);
  g_test_add_func ("/boot/failures", test_failures);
  g_test_add_func ("/boot/screen", test_screen);
  g_test_add_func ("/boot/garbage", test_garbage);
  g_test_add_func ("/boot/timeout", test_timeout);
  g_test_add_func ("/boot/reset-loop", test_reset_loop);
  g_test_add_func ("/boot/power-off", test_power_off);
  g_test_add_func ("/boot/reboot-does-not-happen", test_reboot_that_does_not_happen);
  g_test_add_func ("/boot/cancel", test_cancel);
  g_test_add_func ("/boot/killed", test_killed);
  g_test_add_func ("/boot/qemu-missing", test_qemu_missing);
  g_test_add_func ("/boot/qemu-broken", test_qemu_broken);
  g_test_add_func ("/boot/bad-input", test_bad_input);
  g_test_add_func ("/boot/public", test_public);
  g_test_add_func ("/boot/kvm/probe-passes-emulated", test_probe_passes_emulated);
  g_test_add_func ("/boot/kvm/probe-fails", test_probe_fails);
  g_test_add_func ("/boot/kvm/answer", test_kvm_answer);
  g_test_add_func ("/boot/kvm/probe-source", test_probe_source);
  failed = g_test_run ();
  remove_flat (temp);
  remove_flat (scratch);
  g_free (scratch);
  g_free (temp);
  return failed;
}
