/* test-firstboot.c - a Windows guest has come up when its first-boot service says so.
 *
 * The guests are the boot sector of guest.S, assembled here, which plays what Windows does: it
 * restarts, reports on the serial port, or stops with a text on the screen.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/boot.h"
#include "boot/firstboot.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <unistd.h>

#define SECTOR 512
#define DISK_SIZE (1 << 20)
#define START "H2K-FIRSTBOOT-START\r\n"
#define RUN(name) "H2K-FIRSTBOOT-RUN " name "\r\n"
#define EXIT(name, code) "H2K-FIRSTBOOT-EXIT " name " " #code "\r\n"
#define REBOOT "H2K-FIRSTBOOT-REBOOT\r\n"
#define DONE(ok, failed) "H2K-FIRSTBOOT-DONE ok=" #ok " failed=" #failed "\r\n"

static char *scratch; /* this program's directory */
static char *temp;    /* given to the boot test; empty before and after */

enum
{
  HALT,
  RESET,
  POWER_OFF
};

typedef struct
{
  const char *text; /* NULL: there is no such boot */
  guint8 then;
  gboolean screen;
} Boot;

#define MAX_BOOTS 16

/* --- the report ------------------------------------------------------------------------------- */

static void
test_report (void)
{
  g_autoptr (H2kFirstboot) report = h2k_firstboot_new ();

  g_assert_false (h2k_firstboot_line (report, "Booting from Hard Disk..."));
  g_assert_false (h2k_firstboot_line (report, "H2K-FIRSTBOOT-STARTLING"));
  g_assert_false (h2k_firstboot_line (report, "| H2K-FIRSTBOOT-DONE ok=1 failed=0"));
  g_assert_cmpuint (report->lines, ==, 0);
  g_assert_true (h2k_firstboot_line (report, "Booting from...H2K-FIRSTBOOT-START"));
  g_assert_cmpstr (report->last, ==, "H2K-FIRSTBOOT-START");
  g_assert_true (h2k_firstboot_line (report, "H2K-FIRSTBOOT-RUN 100 a.cmd"));
  g_assert_cmpstr (report->running, ==, "100 a.cmd");
  g_assert_true (h2k_firstboot_line (report, "H2K-FIRSTBOOT-EXIT 100 a.cmd 3010"));
  g_assert_null (report->running);
  g_assert_cmpstr (report->failures->str, ==, "");
  g_assert_true (h2k_firstboot_line (report, "H2K-FIRSTBOOT-REBOOT"));
  g_assert_cmpuint (report->restarts, ==, 1);
  g_assert_true (h2k_firstboot_line (report, "H2K-FIRSTBOOT-EXIT 200-\033[31mb.cmd 1460"));
  g_assert_true (h2k_firstboot_line (report, "H2K-FIRSTBOOT-EXIT 300.cmd 5"));
  g_assert_cmpstr (report->failures->str, ==,
                   "200-\\x1b[31mb.cmd (exit code 1460), 300.cmd (exit code 5)");
  g_assert_true (h2k_firstboot_line (report, "H2K-FIRSTBOOT-DONE ok=one failed=0"));
  g_assert_false (report->done);
  g_assert_true (h2k_firstboot_line (report, "H2K-FIRSTBOOT-DONE ok=7 failed=2 required-failed=1"));
  g_assert_true (report->done);
  g_assert_cmpuint (report->ok, ==, 7);
  g_assert_cmpuint (report->failed, ==, 2);
  g_assert_cmpuint (report->lines, ==, 8);
  g_assert_true (h2k_firstboot_line (report, "H2K-FIRSTBOOT-ERROR no\x01 state"));
  g_assert_cmpstr (report->error, ==, "no\\x01 state");
}

/* A guest may send what it likes, for as long as it likes. */
static void
test_report_is_bounded (void)
{
  g_autoptr (H2kFirstboot) report = h2k_firstboot_new ();
  g_autofree char *name = g_strnfill (4000, 'x');
  g_autofree char *line = g_strdup_printf ("H2K-FIRSTBOOT-EXIT %s 1", name);

  for (guint i = 0; i < 100; i++)
    {
      h2k_firstboot_line (report, line);
      h2k_firstboot_line (report, "H2K-FIRSTBOOT-EXIT a.cmd 1");
      h2k_firstboot_line (report, "H2K-FIRSTBOOT-EXIT");
      h2k_firstboot_line (report, "H2K-FIRSTBOOT-EXIT b");
      h2k_firstboot_line (report, "H2K-FIRSTBOOT-DONE ok=99999999999999999999999 failed=0");
    }
  g_assert_cmpuint (report->failures->len, <, 1100);
}

/* --- booting ---------------------------------------------------------------------------------- */

/* The boot sector; FALSE: the test is skipped. */
static gboolean
assemble (char **code)
{
  g_autofree char *as = g_find_program_in_path ("as"), *ld = g_find_program_in_path ("ld");
  g_autofree char *qemu = g_find_program_in_path ("qemu-system-x86_64");
  g_autofree char *source = g_test_build_filename (G_TEST_DIST, "unit", "boot", "guest.S", NULL);
  g_autofree char *object = g_build_filename (scratch, "guest.o", NULL);
  g_autofree char *binary = g_build_filename (scratch, "guest.bin", NULL);
  const char *first[] = {as, "--32", "-o", object, source, NULL};
  const char *second[] = {ld,          "-m",     "elf_i386", "-Ttext", "0x7c00", "-e", "start",
                          "--oformat", "binary", "-o",       binary,   object,   NULL};
  g_autoptr (GSubprocess) assembler = NULL, linker = NULL;
  g_autoptr (GError) error = NULL;
  gsize length;

#if !defined __x86_64__
  g_test_skip ("the assembler here is not for x86");
  return FALSE;
#endif
  if (as == NULL || ld == NULL || qemu == NULL)
    {
      g_test_skip (qemu == NULL ? "qemu-system-x86_64 is not installed"
                                : "binutils are not installed");
      return FALSE;
    }
  assembler = g_subprocess_newv (first, G_SUBPROCESS_FLAGS_NONE, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_wait_check (assembler, NULL, NULL));
  linker = g_subprocess_newv (second, G_SUBPROCESS_FLAGS_NONE, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_wait_check (linker, NULL, NULL));
  g_assert_true (g_file_get_contents (binary, code, &length, NULL));
  g_assert_cmpuint (length, ==, SECTOR);
  return TRUE;
}

/* A disk that does BOOTS one after the other; NULL: the test is skipped. */
static char *
make_disk (const Boot *boots)
{
  char *path = g_build_filename (scratch, "windows.raw", NULL);
  g_autofree char *code = NULL, *image = g_malloc0 (DISK_SIZE);

  if (!assemble (&code))
    {
      g_free (path);
      return NULL;
    }
  memcpy (image, code, SECTOR);
  for (guint i = 0; i < MAX_BOOTS && boots[i].text != NULL; i++)
    {
      char *sector = image + (2 + i) * SECTOR;

      g_assert_cmpuint (strlen (boots[i].text), <, SECTOR - 3);
      sector[0] = boots[i].screen ? 'V' : 'S';
      memcpy (sector + 1, boots[i].text, strlen (boots[i].text));
      sector[SECTOR - 1] = (char)boots[i].then;
    }
  g_assert_true (g_file_set_contents (path, image, DISK_SIZE, NULL));
  return path;
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

static H2kBootOptions *
make_options (guint timeout)
{
  H2kBootOptions *options = h2k_boot_options_new ();

  options->accel = g_strdup ("tcg");
  options->temp_dir = g_strdup (temp);
  options->timeout = timeout;
  options->screen = g_build_filename (scratch, "screen.png", NULL);
  g_unlink (options->screen); /* of the test before */
  return options;
}

static const H2kDomainWindows server_2022 = {10, 0, 20348, TRUE, FALSE};
static const H2kDomainWindows xp = {5, 1, 2600, FALSE, FALSE};

static H2kDomain *
make_domain (const char *path, const H2kDomainWindows *windows)
{
  H2kDomain *domain = h2k_domain_new ("windows");

  domain->memory_mib = 64;
  domain->vcpus = 1;
  h2k_domain_set_windows (domain, windows);
  h2k_domain_add_disk (domain, path, "raw", H2K_BUS_VIRTIO_BLK);
  h2k_domain_add_nic (domain, NULL, NULL);
  h2k_domain_fix_macs (domain);
  return domain;
}

/* Boot BOOTS as this Windows. FALSE with RESULT NULL: the test is skipped. */
static gboolean
boot (const Boot *boots, const H2kDomainWindows *windows, const H2kBootOptions *options,
      H2kBootResult **result, GError **error)
{
  g_autofree char *path = make_disk (boots);
  g_autoptr (H2kDomain) domain = NULL;
  gboolean ok;

  *result = NULL;
  if (path == NULL)
    return FALSE;
  domain = make_domain (path, windows);
  ok = h2k_boot_domain (domain, options, NULL, result, error);
  if (*result == NULL)
    g_error ("%s", (*error)->message);
  g_assert_cmpuint (count_files (temp), ==, 0);
  return ok;
}

static void
assert_has (const char *text, const char *part)
{
  if (strstr (text, part) == NULL)
    g_error ("no \"%s\" in: %s", part, text);
}

/* The service restarts the machine on the way, and what it says last is the evidence. */
static void
test_pass (gconstpointer data)
{
  static const Boot boots[MAX_BOOTS] = {
      {START RUN ("100-drivers.cmd") EXIT ("100-drivers.cmd", 3010) REBOOT, RESET},
      {START RUN ("200-net.cmd") "| *** STOP: 0x0000007B is what a script may print\r\n" EXIT (
           "200-net.cmd", 0) DONE (2, 0),
       HALT},
  };
  g_autoptr (H2kBootOptions) options = make_options (60);
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (JsonObject) json = NULL;
  g_autoptr (GError) error = NULL;

  if (!boot (boots, data, options, &result, &error) && result == NULL)
    return;
  g_assert_no_error (error);
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_PASS);
  g_assert_cmpstr (result->evidence, ==, "H2K-FIRSTBOOT-DONE ok=2 failed=0");
  g_assert_cmpuint (result->reboots, ==, 1);
  g_assert_null (result->screen);
  g_assert_false (g_file_test (options->screen, G_FILE_TEST_EXISTS));
  json = h2k_boot_result_to_json (result);
  g_assert_true (json_object_get_null_member (json, "screen"));
}

/* The definition of the first phase boots as well, with its extra disk and the ISO. */
static void
test_bootstrap (gconstpointer data)
{
  static const Boot boots[MAX_BOOTS] = {{START DONE (0, 0), HALT}};
  g_autofree char *path = make_disk (boots), *extra = NULL, *iso = NULL;
  g_autoptr (H2kBootOptions) options = make_options (60);
  g_autoptr (H2kDomain) final = NULL, bootstrap = NULL;
  g_autoptr (GError) error = NULL;

  if (path == NULL)
    return;
  extra = g_build_filename (scratch, "extra.raw", NULL);
  iso = g_build_filename (scratch, "drivers.iso", NULL);
  for (guint i = 0; i < 2; i++)
    {
      g_assert_true (g_file_set_contents (i ? extra : iso, "", 0, NULL));
      g_assert_cmpint (truncate (i ? extra : iso, DISK_SIZE), ==, 0);
    }
  final = make_domain (path, data);
  bootstrap = h2k_domain_bootstrap_new (final, extra, iso);
  if (!h2k_boot_domain (bootstrap, options, NULL, NULL, &error))
    g_error ("%s", error->message);
}

/* Windows restarts by itself, too, before the service has come up. */
static void
test_silent_restarts (void)
{
  static const Boot boots[MAX_BOOTS] = {
      {"a", RESET}, {"b", RESET},          {"c", RESET}, {"d", RESET}, {"e", RESET},
      {"f", RESET}, {START REBOOT, RESET}, {"g", RESET}, {"h", RESET}, {START DONE (1, 0), HALT},
  };
  g_autoptr (H2kBootOptions) options = make_options (120);
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;

  if (!boot (boots, &server_2022, options, &result, &error) && result == NULL)
    return;
  g_assert_no_error (error);
  g_assert_cmpuint (result->reboots, ==, 9);
}

static void
test_restarts_for_ever (void)
{
  static const Boot boots[MAX_BOOTS] = {
      {"a", RESET}, {"a", RESET}, {"a", RESET}, {"a", RESET}, {"a", RESET},
      {"a", RESET}, {"a", RESET}, {"a", RESET}, {"a", RESET}, {"a", RESET},
      {"a", RESET}, {"a", RESET}, {"a", RESET}, {"a", RESET},
  };
  g_autoptr (H2kBootOptions) options = make_options (120);
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;

  if (boot (boots, &server_2022, options, &result, &error) || result == NULL)
    return;
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_FAILURE);
  assert_has (error->message, "restarted");
}

/* What is no proof, or a proof that not all is well, and what the message says of it. */
static const struct
{
  const char *name;
  Boot boots[3];
  H2kVerdict verdict;
  const char *parts[3], *evidence;
} failures[] = {
    {"scripts",
     {{START RUN ("500-net.cmd") EXIT ("500-net.cmd", 5) RUN ("600 tools.cmd")
           EXIT ("600 tools.cmd", 1460) DONE (3, 2),
       HALT}},
     H2K_VERDICT_FAILURE,
     {"2 of the first-boot service's scripts", "500-net.cmd (exit code 5)",
      "600 tools.cmd (exit code 1460)"},
     "H2K-FIRSTBOOT-DONE ok=3 failed=2"},
    {"service",
     {{START "H2K-FIRSTBOOT-ERROR the state file is damaged: nothing is run\r\n", HALT}},
     H2K_VERDICT_FAILURE,
     {"state file is damaged", "came up", "first-boot service"},
     "H2K-FIRSTBOOT-ERROR the state file is damaged: nothing is run"},
    {"hangs",
     {{START RUN ("500-net.cmd"), HALT}},
     H2K_VERDICT_TIMEOUT,
     {"500-net.cmd", "in time", "--boot-timeout"},
     NULL},
    {"stopped",
     {{START "H2K-FIRSTBOOT-STOPPED\r\n", HALT}},
     H2K_VERDICT_TIMEOUT,
     {"H2K-FIRSTBOOT-STOPPED", "in time", "has not ended"},
     NULL},
    {"login",
     {{"windows login: ", HALT}},
     H2K_VERDICT_TIMEOUT,
     {"nothing was heard of the first-boot service", "screen", "--boot-timeout"},
     NULL},
    {"off", {{START, POWER_OFF}}, H2K_VERDICT_STOPPED, {"powered off", "", ""}, NULL},
    {"bootmgr",
     {{"\r\nBOOTMGR is missing\r\nPress Ctrl+Alt+Del to restart\r\n", HALT, TRUE}},
     H2K_VERDICT_FAILURE,
     {"boot loader", "BOOTMGR is missing", "same order"},
     "BOOTMGR is missing"},
    {"ntldr",
     {{"NTLDR is missing", HALT, TRUE}},
     H2K_VERDICT_FAILURE,
     {"boot loader", "NTLDR is missing", ""},
     "NTLDR is missing"},
    {"winload",
     {{"Windows failed to start. A recent hardware or software change might be the cause.\r\n\r\n"
       "    File: \\Windows\\system32\\winload.exe\r\n\r\n    Status: 0xc000000f\r\n",
       HALT, TRUE}},
     H2K_VERDICT_FAILURE,
     {"boot store", "0xc000000f", "winload.exe"},
     "    Status: 0xc000000f"},
    /* The service has spoken before; the screen is looked at all the same. */
    {"after-restart",
     {{START REBOOT, RESET}, {"A disk read error occurred", HALT, TRUE}},
     H2K_VERDICT_FAILURE,
     {"could not read its disk", "A disk read error occurred", ""},
     "A disk read error occurred"},
    {"stop-7b",
     {{"*** STOP: 0x0000007B (0xF88A89E8,0xC0000034,0x00000000,0x00000000)\r\n", HALT}},
     H2K_VERDICT_FAILURE,
     {"INACCESSIBLE_BOOT_DEVICE", "VirtIO", "bootstrap"},
     "*** STOP: 0x0000007B (0xF88A89E8,0xC0000034,0x00000000,0x00000000)"},
    {"stop-xml",
     {{"<INSTANCE CLASSNAME=\"BLUESCREEN\">\r\n<PROPERTY NAME=\"STOPCODE\" "
       "TYPE=\"string\"><VALUE>\"0xD1\"</VALUE></PROPERTY>\r\n",
       HALT}},
     H2K_VERDICT_FAILURE,
     {"stop error", "", ""},
     "<INSTANCE CLASSNAME=\"BLUESCREEN\">"},
};

static void
test_failure (gconstpointer data)
{
  gsize i = GPOINTER_TO_SIZE (data);
  Boot boots[MAX_BOOTS] = {{0}};
  g_autoptr (H2kBootOptions) options
      = make_options (failures[i].verdict == H2K_VERDICT_TIMEOUT ? 5 : 60);
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (JsonObject) json = NULL;
  g_autofree char *png = NULL;
  g_autoptr (GError) error = NULL;
  gsize length;
  GStatBuf st;

  memcpy (boots, failures[i].boots, sizeof failures[i].boots);
  if (boot (boots, &server_2022, options, &result, &error) || result == NULL)
    {
      g_assert_null (result);
      return;
    }
  g_assert_cmpint (result->verdict, ==, failures[i].verdict);
  g_assert_cmpstr (result->evidence, ==, failures[i].evidence);
  for (gsize n = 0; n < G_N_ELEMENTS (failures[i].parts); n++)
    assert_has (error->message, failures[i].parts[n]);
  if (failures[i].verdict == H2K_VERDICT_STOPPED && result->screen == NULL)
    return; /* QEMU ended before it could be asked */

  /* The screen as it was, where it was asked for. */
  g_assert_cmpstr (result->screen, ==, options->screen);
  json = h2k_boot_result_to_json (result);
  g_assert_cmpstr (json_object_get_string_member (json, "screen"), ==, options->screen);
  g_assert_true (g_file_get_contents (options->screen, &png, &length, NULL));
  g_assert_cmpuint (length, >, 100);
  g_assert_cmpmem (png, 8, "\x89PNG\r\n\x1a\n", 8);
  g_assert_cmpint (g_stat (options->screen, &st), ==, 0);
  g_assert_cmpuint (st.st_mode & 07777, ==, 0600);
  g_unlink (options->screen);
}

/* A picture that cannot be saved changes nothing of the verdict. */
static void
test_screen_not_saved (void)
{
  static const Boot boots[MAX_BOOTS] = {{"BOOTMGR is missing", HALT, TRUE}};
  g_autoptr (H2kBootOptions) options = make_options (60);
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;
  GLogLevelFlags fatal;

  g_free (options->screen);
  options->screen = g_build_filename (scratch, "no-such-folder", "screen.png", NULL);
  /* A warning is said, which ends tests. */
  fatal = g_log_set_always_fatal (G_LOG_FATAL_MASK);
  if (boot (boots, &server_2022, options, &result, &error) || result == NULL)
    return;
  g_log_set_always_fatal (fatal);
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_FAILURE);
  g_assert_null (result->screen);
  g_clear_pointer (&options->screen, g_free);
  g_clear_pointer (&result, h2k_boot_result_free);
  g_clear_error (&error);
  g_assert_false (boot (boots, &server_2022, options, &result, &error));
  g_assert_null (result->screen);
}

/* A stop code that Windows tells the hypervisor, which takes KVM: QEMU is a script here, which has
 * the channel for events where it was told. */
static void
test_panic (void)
{
  static const Boot boots[MAX_BOOTS] = {{START, HALT}};
  g_autofree char *path = make_disk (boots), *search = g_strdup (g_getenv ("PATH"));
  g_autofree char *fake = g_build_filename (scratch, "qemu-system-x86_64", NULL);
  g_autofree char *with = g_strconcat (scratch, ":", search, NULL);
  g_autoptr (H2kBootOptions) options = make_options (30);
  g_autoptr (H2kDomain) domain = NULL;
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GError) error = NULL;

  if (path == NULL)
    return;
  g_assert_true (g_file_set_contents (
      fake,
      "#!/bin/bash\nfd=$(printf '%s\\n' \"$@\" | sed -n 's/^socket,id=qmp,fd=//p')\n"
      "printf '%s\\n' '{\"event\":\"GUEST_PANICKED\",\"data\":{\"action\":\"pause\",\"info\":"
      "{\"type\":\"hyper-v\",\"arg1\":123,\"arg2\":1,\"arg3\":2,\"arg4\":3,\"arg5\":4}}}' >&$fd\n"
      "exec sleep 20\n",
      -1, NULL));
  g_assert_cmpint (g_chmod (fake, 0755), ==, 0);
  domain = make_domain (path, &server_2022);
  g_clear_pointer (&options->screen, g_free);
  g_setenv ("PATH", with, TRUE);
  g_assert_false (h2k_boot_domain (domain, options, NULL, &result, &error));
  g_setenv ("PATH", search, TRUE);
  g_unlink (fake);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_BOOT);
  g_assert_cmpint (result->verdict, ==, H2K_VERDICT_FAILURE);
  assert_has (error->message, "stop error 0x7B");
}

static void
test_reboot_is_refused (void)
{
  g_autoptr (H2kDomain) domain = make_domain ("/nonexistent.raw", &server_2022);
  g_autoptr (H2kBootOptions) options = make_options (5);
  g_autoptr (GError) error = NULL;

  options->reboot = TRUE;
  g_assert_false (h2k_boot_domain (domain, options, NULL, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_USAGE);
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

int
main (int argc, char **argv)
{
  int failed;

  g_test_init (&argc, &argv, NULL);
  scratch = g_dir_make_tmp ("h2k-firstboot-XXXXXX", NULL);
  temp = g_build_filename (scratch, "temp", NULL);
  g_assert_cmpint (g_mkdir (temp, 0700), ==, 0);
  g_test_add_func ("/boot/firstboot/report", test_report);
  g_test_add_func ("/boot/firstboot/report-is-bounded", test_report_is_bounded);
  g_test_add_data_func ("/boot/firstboot/pass/server-2022", &server_2022, test_pass);
  g_test_add_data_func ("/boot/firstboot/pass/xp", &xp, test_pass);
  g_test_add_data_func ("/boot/firstboot/bootstrap/server-2022", &server_2022, test_bootstrap);
  g_test_add_data_func ("/boot/firstboot/bootstrap/xp", &xp, test_bootstrap);
  g_test_add_func ("/boot/firstboot/silent-restarts", test_silent_restarts);
  g_test_add_func ("/boot/firstboot/restarts-for-ever", test_restarts_for_ever);
  for (gsize i = 0; i < G_N_ELEMENTS (failures); i++)
    {
      g_autofree char *name = g_strconcat ("/boot/firstboot/failure/", failures[i].name, NULL);

      g_test_add_data_func (name, GSIZE_TO_POINTER (i), test_failure);
    }
  g_test_add_func ("/boot/firstboot/screen-not-saved", test_screen_not_saved);
  g_test_add_func ("/boot/firstboot/panic", test_panic);
  g_test_add_func ("/boot/firstboot/reboot-is-refused", test_reboot_is_refused);
  failed = g_test_run ();
  remove_flat (temp);
  remove_flat (scratch);
  g_free (scratch);
  g_free (temp);
  return failed;
}
