/* test-watch.c - consoles are read and judged rightly: plain lines, prompts, signs, the marker.
 *
 * Console texts under data/ were recorded from real guests in QEMU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/watch.h"

#define SECOND G_TIME_SPAN_SECOND

/* --- the console ------------------------------------------------------------------------------ */

static void
collect (const char *line, gpointer data)
{
  GString *lines = data;

  g_string_append_printf (lines, "%s|", line);
}

/* The lines that TEXT makes, fed in pieces of STEP bytes, separated by '|', with what has not
 * ended. */
static char *
lines_of (const char *text, gsize length, gsize step)
{
  GString *lines = g_string_new (NULL);
  g_autoptr (H2kConsole) console = h2k_console_new (collect, lines);

  for (gsize i = 0; i < length; i += step)
    h2k_console_feed (console, (const guint8 *)text + i, MIN (step, length - i));
  g_string_append (lines, h2k_console_partial (console));
  return g_string_free (lines, FALSE);
}

static void
test_console_lines (void)
{
  static const struct
  {
    const char *text, *lines;
  } cases[] = {
      {"one\r\ntwo\n", "one|two|"},
      {"host login: ", "host login: "},
      {"\033[0;32m  OK  \033[0m] Started x\r\n", "  OK  ] Started x|"},
      {"\033[2J\033[1;1Hgrub> ", "grub> "},
      {"GNU GRUB\033[4;2Hline two\033[4;20Hmore\033[5;2Hgrub> ", "GNU GRUB|line twomore|grub> "},
      {"50%\r60%\r\nend", "50%|60%|end"},
      {"\r\rhost login: ", "host login: "},
      {"abd\bc\n", "abc|"},
      {"\033]0;title\007text\n", "text|"},
      {"\033]0;never ended\nnext\n", "next|"},
      {"\033(Btext\033[m\n", "text|"},

      {"\033[12345678901234567890123456789012345678901234567890mx\n", "x|"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    for (gsize step = 1; step < 40; step += 7)
      {
        g_autofree char *lines = lines_of (cases[i].text, strlen (cases[i].text), step);

        g_assert_cmpstr (lines, ==, cases[i].lines);
      }
}

static void
test_console_is_bounded (void)
{
  g_autoptr (H2kConsole) console = h2k_console_new (NULL, NULL);
  g_autofree char *megabyte = g_strnfill (1 << 20, 'x');
  g_autofree char *tail = NULL, *last = NULL;

  h2k_console_feed (console, (const guint8 *)megabyte, 1 << 20);
  for (guint i = 0; i < 20000; i++)
    {
      g_autofree char *line = g_strdup_printf ("line %u\n", i);

      h2k_console_feed (console, (const guint8 *)line, strlen (line));
    }
  h2k_console_feed (console, (const guint8 *)"\xff\xfe end", 6);
  tail = h2k_console_tail (console, G_MAXUINT);
  g_assert_cmpuint (strlen (tail), <=, 17 * 1024);
  g_assert_true (g_utf8_validate (tail, -1, NULL));
  last = h2k_console_tail (console, 3);
  g_assert_cmpstr (last, ==, "line 19998\nline 19999\n\\xff\\xfe end");
}

static void
test_console_tail (void)
{
  static const char text[] = "+--+\n|  |\n|  |\n|  |\n\n\n  \nend  \n\n";
  g_autoptr (H2kConsole) console = h2k_console_new (NULL, NULL);
  g_autofree char *tail = NULL;

  h2k_console_feed (console, (const guint8 *)text, strlen (text));
  tail = h2k_console_tail (console, 10);
  g_assert_cmpstr (tail, ==, "+--+\n|  |\n\nend");
}

/* --- the signs -------------------------------------------------------------------------------- */

static void
feed (H2kWatch *watch, H2kInput input, const char *text, gint64 now)
{
  h2k_watch_feed (watch, input, (const guint8 *)text, strlen (text), now);
}

typedef enum
{
  NOTHING,
  LOGIN,
  FAILURE
} Expected;

/* What WATCH has come to. */
static Expected
state_of (const H2kWatch *watch)
{
  const char *line;

  return h2k_watch_login (watch) != NULL            ? LOGIN
         : h2k_watch_failure (watch, &line) != NULL ? FAILURE
                                                    : NOTHING;
}

static void
test_signs (void)
{
  static const struct
  {
    const char *text;
    Expected expected;
    const char *meaning; /* a part of the failure's meaning */
  } cases[] = {
      {"\r\nDebian GNU/Linux 12 debian ttyS0\r\n\r\ndebian login: ", LOGIN, NULL},
      {"\r\nlocalhost login:", LOGIN, NULL},
      {"web-1.example.org login: [   31.4] e1000: link is up\r\n", LOGIN, NULL},
      /* Not at a line's start, more text behind, a log's message: no prompts. */
      {"Last login: Mon Jan  1 on ttyS0", NOTHING, NULL},
      {"sshd[12]: failed login: root from 10.0.0.1\n", NOTHING, NULL},
      {"host login: root\r\nPassword: ", NOTHING, NULL},
      {"see the manual about login: ", NOTHING, NULL},
      {"[   12.3] systemd-login: ", NOTHING, NULL},

      {"[    1.5] Kernel panic - not syncing: VFS: Unable to mount root fs on "
       "unknown-block(0,0)\r\n"
       "[    1.6] CPU: 0 PID: 1\r\n",
       FAILURE, "panicked"},
      {"ALERT!  /dev/sda1 does not exist.  Dropping to a shell!\r\n\r\n\r\nBusyBox v1.35.0 (Debian "
       "1:1.35.0-4+b3) built-in shell (ash)\r\n(initramfs) ",
       FAILURE, "root filesystem"},
      {"(initramfs) ", FAILURE, "initramfs prompt"},
      {"Begin: Running /scripts/init-premount ... (initramfs) and more\n", NOTHING, NULL},
      {"error: no such device: 0b8cd0c1.\r\nEntering rescue mode...\r\ngrub rescue> ", FAILURE,
       "rescue"},
      {"\033[1;1H   GNU GRUB  version 2.06\033[5;2Hgrub> ", FAILURE, "GRUB's prompt"},
      {"error: no such device: 1234.\r\nPress any key to continue...\r\n", NOTHING, NULL},
      {"[  190.1] dracut-initqueue[390]: Warning: dracut-initqueue timeout - starting timeout "
       "scripts\r\n",
       NOTHING, NULL},
      {"Generating \"/run/initramfs/rdsosreport.txt\"\r\n\r\n\r\nEntering emergency mode. Exit the "
       "shell to continue.\r\nType \"journalctl\" to view system logs.\r\n",
       FAILURE, "emergency"},
      {"You are in emergency mode. After logging in, type \"journalctl -xb\" to view\r\nGive root "
       "password for maintenance\r\n(or press Control-D to continue): ",
       FAILURE, "emergency"},
      {"Cannot open access to console, the root account is locked.\r\nSee sulogin(8) man page for "
       "more details.\r\n\r\nPress Enter to continue.\r\n",
       FAILURE, "emergency"},
      {"Please enter passphrase for disk QEMU_HARDDISK (luks-1) on /: ", FAILURE, "passphrase"},
      {"Please unlock disk sda5_crypt: ", FAILURE, "passphrase"},
      {"BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x1,0x0): Not "
       "Found\r\n",
       NOTHING, NULL},
      {"BdsDxe: No bootable option or device was found.\r\n", FAILURE, "UEFI"},
      {"UEFI Interactive Shell v2.2\r\nEDK II\r\nShell> ", FAILURE, "UEFI"},

      {"BOOTMGR is missing\r\nPress Ctrl+Alt+Del to restart\r\n", FAILURE, "boot loader"},
      {"\r\nBOOTMGR image is corrupt.  The system cannot boot.\r\n", FAILURE, "boot loader"},
      {"NTLDR is compressed\r\n", FAILURE, "boot loader"},
      {"A disk read error occurred\r\n", FAILURE, "read its disk"},
      {"An operating system wasn't found. Try disconnecting any drives that don't\r\n", FAILURE,
       "no Windows"},
      {"Windows could not start because the following file is missing or corrupt:\r\n", FAILURE,
       "NTLDR"},
      {"Windows failed to start. A recent hardware or software change might be the cause.\r\n",
       NOTHING, NULL},
      {"    Status: 0xc000000e\r\n", FAILURE, "boot store"},
      {"    Status: 0xc0000225\r\n", FAILURE, "boot store"},
      {"    Status: 0xc000014c\r\n", FAILURE, "registry"},
      {"    Status: 0xc0000428\r\n", FAILURE, "could not start Windows"},
      {"*** STOP: 0x0000007B (0xF88A89E8,0xC0000034,0x00000000,0x00000000)\r\n", FAILURE, "0x7B"},
      {"*** STOP: 0x0000007b\r\n", FAILURE, "0x7B"},
      {"*** STOP: 0x000000ED (0x1)\r\n", FAILURE, "UNMOUNTABLE"},
      {"*** STOP: 0x00000074 (0x1)\r\n", FAILURE, "registry"},
      {"*** STOP: 0x000000A5 (0x1)\r\n", FAILURE, "ACPI"},
      {"STOP: c0000218 {Registry File Failure}\r\n", FAILURE, "registry"},
      {"*** STOP: 0x000000D1 (0x1)\r\n", FAILURE, "blue screen"},
      {"*** STOP: 0x1000007B\r\n", FAILURE, "blue screen"},
      {"<PROPERTY NAME=\"STOPCODE\" TYPE=\"string\"><VALUE>\"0x7B\"</VALUE>\r\n", FAILURE, "0x7B"},
      {"STOP: the service\r\n", NOTHING, NULL},
      {"Computer is booting, SAC started and initialized.\r\n", NOTHING, NULL},
      {"H2K-FIRSTBOOT-START\r\n| *** STOP: 0x0000007B\r\n", NOTHING, NULL},
      {"", NOTHING, NULL},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    for (gsize step = 1; step < 100; step += 33)
      {
        g_autoptr (H2kWatch) watch = h2k_watch_new (NULL);
        const char *text = cases[i].text, *line = NULL;
        const H2kSign *sign;

        for (gsize at = 0; at < strlen (text); at += step)
          h2k_watch_feed (watch, H2K_INPUT_CONSOLE, (const guint8 *)text + at,
                          MIN (step, strlen (text) - at), 0);
        h2k_watch_settle (watch, 60 * SECOND);
        if (state_of (watch) != cases[i].expected)
          g_error ("\"%s\": %d", text, state_of (watch));
        sign = h2k_watch_failure (watch, &line);
        if (cases[i].meaning != NULL)
          g_assert_nonnull (strstr (sign->meaning, cases[i].meaning));
        if (sign != NULL)
          g_assert_cmpint (*line, !=, '\0');
      }
}

static void
test_hints (void)
{
  g_autoptr (H2kWatch) watch = h2k_watch_new (NULL);
  const char *line;

  g_assert_null (h2k_watch_hint (watch, &line));
  feed (watch, H2K_INPUT_CONSOLE,
        "[  190.100000] dracut-initqueue[390]: Warning: dracut-initqueue timeout - starting\r\n",
        0);
  g_assert_nonnull (strstr (h2k_watch_hint (watch, &line)->meaning, "dracut"));
  g_assert_true (h2k_watch_kernel_seen (watch));
}

/* A sign counts when it has settled, and not before; a proof in between refutes it. */
static void
test_failure_settles (void)
{
  g_autoptr (H2kWatch) watch = h2k_watch_new (NULL);
  const char *line;
  gint64 next;

  feed (watch, H2K_INPUT_CONSOLE, "Entering emergency mode\r\n", 10 * SECOND);
  next = h2k_watch_settle (watch, 10 * SECOND);
  g_assert_cmpint (next, ==, 15 * SECOND);
  g_assert_null (h2k_watch_failure (watch, &line));
  feed (watch, H2K_INPUT_CONSOLE, "host login: ", 12 * SECOND);
  next = h2k_watch_settle (watch, 12 * SECOND);
  g_assert_cmpint (next, <, 13 * SECOND);
  h2k_watch_settle (watch, next);
  g_assert_cmpstr (h2k_watch_login (watch), ==, "host login:");
  g_assert_null (h2k_watch_failure (watch, &line));
  h2k_watch_settle (watch, 15 * SECOND);
  g_assert_nonnull (h2k_watch_failure (watch, &line));
  g_assert_cmpstr (line, ==, "Entering emergency mode");
}

/* A prompt that does not stay is none: GRUB draws "grub> " before it reads its configuration. */
static void
test_prompt_has_to_stay (void)
{
  g_autoptr (H2kWatch) watch = h2k_watch_new (NULL);
  const char *line;

  feed (watch, H2K_INPUT_CONSOLE, "grub> ", 0);
  h2k_watch_settle (watch, SECOND);
  feed (watch, H2K_INPUT_CONSOLE, "\r\nLoading Linux 6.1.0 ...\r\n", SECOND);
  g_assert_cmpint (h2k_watch_settle (watch, 60 * SECOND), ==, -1);
  g_assert_null (h2k_watch_failure (watch, &line));

  feed (watch, H2K_INPUT_CONSOLE, "host login: ", 70 * SECOND);
  feed (watch, H2K_INPUT_CONSOLE, "root", 70 * SECOND + 1);
  h2k_watch_settle (watch, 80 * SECOND);
  g_assert_null (h2k_watch_login (watch));
}

static void
test_forget (void)
{
  g_autoptr (H2kWatch) watch = h2k_watch_new (NULL);

  feed (watch, H2K_INPUT_CONSOLE, "host login: ", 0);
  h2k_watch_settle (watch, SECOND);
  g_assert_nonnull (h2k_watch_login (watch));
  h2k_watch_forget (watch);
  h2k_watch_settle (watch, 2 * SECOND);
  g_assert_null (h2k_watch_login (watch));
  feed (watch, H2K_INPUT_CONSOLE, "\r\n\r\nhost login: ", 3 * SECOND);
  h2k_watch_settle (watch, 5 * SECOND);
  g_assert_nonnull (h2k_watch_login (watch));
}

static void
test_firmware_log (void)
{
  g_autoptr (H2kWatch) watch = h2k_watch_new (NULL);
  const char *line;

  feed (watch, H2K_INPUT_FIRMWARE,
        "Booting from Hard Disk...\nBoot failed: not a bootable disk\n\nenter handle_18:\n  "
        "NULL\nNo bootable device.\n",
        0);
  h2k_watch_settle (watch, SECOND);
  g_assert_nonnull (h2k_watch_failure (watch, &line));
  g_assert_cmpstr (line, ==, "No bootable device.");
}

/* Text on the screen counts as text on the console does, once: it is seen again and again. */
static void
test_screen (void)
{
  g_autoptr (H2kWatch) watch = h2k_watch_new (NULL);
  g_autofree char *tail = NULL;
  const char *line;

  h2k_watch_screen (watch, "SeaBIOS\nBooting from Hard Disk...\n\n", 0);
  h2k_watch_screen (watch, "error: unknown filesystem.\nEntering rescue mode...\ngrub rescue>\n\n",
                    SECOND);
  g_assert_cmpint (h2k_watch_settle (watch, SECOND), ==, 5 * SECOND);
  h2k_watch_screen (watch, "error: unknown filesystem.\nEntering rescue mode...\ngrub rescue>\n\n",
                    2 * SECOND);
  g_assert_null (h2k_watch_failure (watch, &line));
  h2k_watch_settle (watch, 5 * SECOND);
  g_assert_nonnull (h2k_watch_failure (watch, &line));
  g_assert_cmpstr (line, ==, "grub rescue>");
  tail = h2k_watch_tail (watch, 2);
  g_assert_cmpstr (tail, ==, "Entering rescue mode...\ngrub rescue>");
}

/* GRUB's screen goes blank when the kernel takes over: the prompt was none. */
static void
test_screen_goes_blank (void)
{
  g_autoptr (H2kWatch) watch = h2k_watch_new (NULL);
  const char *line;

  h2k_watch_screen (watch, "grub>\n", 0);
  h2k_watch_screen (watch, "\n\n", 2 * SECOND);
  g_assert_cmpint (h2k_watch_settle (watch, 60 * SECOND), ==, -1);
  g_assert_null (h2k_watch_failure (watch, &line));
}

/* Recorded consoles of real guests. */
static void
test_recorded (void)
{
  static const struct
  {
    const char *file;
    Expected expected;
    const char *line;
  } cases[] = {
      {"debian12-initramfs.txt", FAILURE,
       "ALERT!  /dev/sda1 does not exist.  Dropping to a shell!"},
      {"debian12-emergency.txt", FAILURE, "You are in emergency mode"},
      {"debian12-panic.txt", FAILURE, "Kernel panic - not syncing"},
      {"debian12-login.txt", LOGIN, "debian12-vmware login:"},
      {"ovmf-shell.txt", FAILURE, "UEFI Interactive Shell v2.2"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path
          = g_test_build_filename (G_TEST_DIST, "unit", "boot", "data", cases[i].file, NULL);
      g_autofree char *text = NULL;
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kWatch) watch = h2k_watch_new (NULL);
      const char *line = NULL;
      gsize length;

      g_file_get_contents (path, &text, &length, &error);
      g_assert_no_error (error);
      for (gsize at = 0; at < length; at += 61)
        {
          h2k_watch_feed (watch, H2K_INPUT_CONSOLE, (const guint8 *)text + at,
                          MIN (61, length - at), 0);
          /* Nothing before has settled, and nothing is taken for proof on the way. */
          g_assert_null (h2k_watch_login (watch));
        }
      h2k_watch_settle (watch, 60 * SECOND);
      if (state_of (watch) != cases[i].expected)
        g_error ("%s: %d", cases[i].file, state_of (watch));
      if (cases[i].expected == LOGIN)
        line = h2k_watch_login (watch);
      else
        h2k_watch_failure (watch, &line);
      if (strstr (line, cases[i].line) == NULL)
        g_error ("%s: \"%s\"", cases[i].file, line);
    }
}

/* Bytes of any kind neither prove anything nor break anything. */
static void
test_noise (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (4);
  g_autoptr (H2kWatch) watch = h2k_watch_new ("n");
  g_autofree char *tail = NULL;
  guint8 block[512];

  for (guint i = 0; i < 2000; i++)
    {
      for (gsize j = 0; j < sizeof block; j++)
        block[j] = (guint8)g_rand_int_range (rand, 0, j % 3 == 0 ? 256 : 64);
      h2k_watch_feed (watch, (H2kInput)(i % H2K_N_INPUTS), block, sizeof block, i);
    }
  h2k_watch_settle (watch, 60 * SECOND);
  g_assert_cmpint (state_of (watch), ==, NOTHING);
  g_assert_null (h2k_watch_marker (watch));
  tail = h2k_watch_tail (watch, G_MAXUINT);
  g_assert_true (g_utf8_validate (tail, -1, NULL));
}

/* --- the marker ------------------------------------------------------------------------------- */

#define REPORT(id, boot, net)                                                                      \
  "H2K-BOOT-OK id=" id " boot=" boot " net=" net " systemd=degraded failed=a.service,b.mount end"

static void
test_marker_parse (void)
{
  g_autoptr (H2kMarkerReport) report = h2k_marker_parse (
      "junk " REPORT ("abc", "1", "ens192,10.0.2.15/24,10.0.2.2,00:50:56:01:02:03,virtio_net"),
      "abc");
  g_autofree char *network = NULL;

  g_assert_nonnull (report);
  g_assert_cmpuint (report->boot, ==, 1);
  g_assert_cmpstr (report->interface, ==, "ens192");
  g_assert_cmpstr (report->gateway, ==, "10.0.2.2");
  g_assert_cmpstr (report->mac, ==, "00:50:56:01:02:03");
  g_assert_cmpstr (report->systemd, ==, "degraded");
  g_assert_cmpstr (report->failed, ==, "a.service,b.mount");
  network = h2k_marker_network (report);
  g_assert_cmpstr (network, ==, "ens192 up 10.0.2.15/24 (virtio_net)");
}

static void
test_marker_parse_refuses (void)
{
  static const char *const lines[] = {
      REPORT ("other", "1", "none"),
      "H2K-BOOT-OK id=abc boot=1 net=none systemd=running failed= ",
      "H2K-BOOT-OK id=abc net=none end",
      "H2K-BOOT-OK id=abc boot=1 end",
      "H2K-BOOT-OK id=abcd boot=1 net=none end",
      "",
  };

  for (gsize i = 0; i < G_N_ELEMENTS (lines); i++)
    g_assert_null (h2k_marker_parse (lines[i], "abc"));
}

static void
test_marker_without_network (void)
{
  static const char *const nets[] = {"none", "a,b", "", "\033[2J,,,,", ",,,,"};

  for (gsize i = 0; i < G_N_ELEMENTS (nets); i++)
    {
      g_autofree char *line
          = g_strdup_printf ("H2K-BOOT-OK id=abc boot=1 net=%s systemd= failed= end", nets[i]);
      g_autoptr (H2kMarkerReport) report = h2k_marker_parse (line, "abc");
      g_autofree char *network = NULL;

      g_assert_nonnull (report);
      network = h2k_marker_network (report);
      g_assert_cmpstr (network, ==, "none");
    }
}

static void
test_marker_watched (void)
{
  g_autoptr (H2kWatch) watch = h2k_watch_new ("abc");

  feed (watch, H2K_INPUT_MARKER, "\n" REPORT ("old", "1", "none") "\n", 0);
  feed (watch, H2K_INPUT_FIRMWARE, REPORT ("abc", "1", "none") "\n", 0);
  g_assert_null (h2k_watch_marker (watch));
  feed (watch, H2K_INPUT_MARKER, "\n" REPORT ("abc", "1", "none") "\n", 0);
  g_assert_cmpuint (h2k_watch_marker (watch)->boot, ==, 1);
  feed (watch, H2K_INPUT_CONSOLE, "host login: " REPORT ("abc", "2", "e,1.2.3.4/8,,,") "\r\n", 0);
  g_assert_cmpuint (h2k_watch_marker (watch)->boot, ==, 2);
  feed (watch, H2K_INPUT_MARKER, "\n" REPORT ("abc", "1", "none") "\n", 0);
  g_assert_cmpuint (h2k_watch_marker (watch)->boot, ==, 2);
}

/* The unit's lines as systemd joins them, with its escapes undone: the script of /bin/sh. */
static char *
script_of (const char *unit)
{
  const char *start = strstr (unit, "ExecStart=/bin/sh -c '");
  GString *script = g_string_new (NULL);

  g_assert_nonnull (start);
  for (start += strlen ("ExecStart=/bin/sh -c '"); *start != '\''; start++)
    {
      g_assert_cmpint (*start, !=, '\0');
      if (start[0] == '\\' && start[1] == '\n')
        {
          g_string_append_c (script, ' ');
          start++;
        }
      else
        {
          g_assert_cmpint (*start, !=, '\\');
          g_assert_cmpint (*start, !=, '\n');
          if (*start == '$' || *start == '%')
            {
              g_assert_cmpint (start[1], ==, *start);
              start++;
            }
          g_string_append_c (script, *start);
        }
    }
  g_assert_cmpstr (start, ==, "'\n");
  return g_string_free (script, FALSE);
}

static void
test_marker_unit (void)
{
  g_autofree char *unit = h2k_marker_unit ("0123-abc", TRUE);
  g_autofree char *once = h2k_marker_unit ("0123-abc", FALSE);
  g_autofree char *script = script_of (unit);
  g_auto (GStrv) lines = g_strsplit (unit, "\n", -1);

  g_assert_nonnull (strstr (unit, "After=multi-user.target\n"));
  g_assert_nonnull (strstr (script, "id=0123-abc "));
  g_assert_nonnull (strstr (script, "systemctl reboot"));
  g_assert_null (strstr (once, "systemctl reboot"));
  for (char **line = lines; *line != NULL; line++)
    {
      g_assert_cmpuint (strlen (*line), <, 2048);
      /* Inside a continued line systemd would take these for comments. */
      g_assert_true (**line != '#' && **line != ';');
    }
}

/* Shells accept the script: dash and busybox where they are. */
static void
test_marker_script (void)
{
  static const char *const shells[][2]
      = {{"sh", NULL}, {"dash", NULL}, {"bash", NULL}, {"busybox", "sh"}};
  g_autofree char *unit = h2k_marker_unit ("0123-abc", TRUE);
  g_autofree char *script = script_of (unit);

  for (gsize i = 0; i < G_N_ELEMENTS (shells); i++)
    {
      g_autofree char *program = g_find_program_in_path (shells[i][0]);
      const char *argv[] = {program, "-n", "-c", script, NULL};
      const char *busybox[] = {program, "sh", "-n", "-c", script, NULL};
      g_autoptr (GSubprocess) process = NULL;
      g_autoptr (GError) error = NULL;

      if (program == NULL)
        continue;
      process = g_subprocess_newv (shells[i][1] != NULL ? busybox : argv, G_SUBPROCESS_FLAGS_NONE,
                                   &error);
      g_assert_no_error (error);
      g_assert_true (g_subprocess_wait_check (process, NULL, &error));
      g_assert_no_error (error);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/boot/console/lines", test_console_lines);
  g_test_add_func ("/boot/console/bounded", test_console_is_bounded);
  g_test_add_func ("/boot/console/tail", test_console_tail);
  g_test_add_func ("/boot/watch/signs", test_signs);
  g_test_add_func ("/boot/watch/hints", test_hints);
  g_test_add_func ("/boot/watch/failure-settles", test_failure_settles);
  g_test_add_func ("/boot/watch/prompt-has-to-stay", test_prompt_has_to_stay);
  g_test_add_func ("/boot/watch/forget", test_forget);
  g_test_add_func ("/boot/watch/firmware-log", test_firmware_log);
  g_test_add_func ("/boot/watch/screen", test_screen);
  g_test_add_func ("/boot/watch/screen-goes-blank", test_screen_goes_blank);
  g_test_add_func ("/boot/watch/recorded", test_recorded);
  g_test_add_func ("/boot/watch/noise", test_noise);
  g_test_add_func ("/boot/marker/parse", test_marker_parse);
  g_test_add_func ("/boot/marker/parse-refuses", test_marker_parse_refuses);
  g_test_add_func ("/boot/marker/without-network", test_marker_without_network);
  g_test_add_func ("/boot/marker/watched", test_marker_watched);
  g_test_add_func ("/boot/marker/unit", test_marker_unit);
  g_test_add_func ("/boot/marker/script", test_marker_script);
  return g_test_run ();
}
