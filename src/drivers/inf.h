/* inf.h - Windows driver packages: what an INF file would install on one release of Windows.
 *
 * Follows "INF File Sections and Directives" and "General Syntax Rules for INF Files" of
 * Microsoft's driver documentation. Texts are UTF-16LE with a byte order mark, UTF-8 with or
 * without one, else Windows-1252. Sections of one name are one section; names are compared without
 * case; %strkey% is expanded from the Strings section of US English where there is one, else of any
 * English, else from [Strings]; %% is a percent sign.
 *
 * Of the sections that are decorated (NTamd64.6.1, NTx86, NTARM64.10.0...14393), that one counts
 * which Windows would choose: the Models section with the highest version that is not above the
 * target's, then the one that names the processor, build, product type; of an install section
 * NAME.NTamd64, NAME.NT, NAME, in this order (NAME.NTx86, NAME.NT, NAME; NAME.NTarm64, NAME.NT,
 * NAME).
 *
 * Numbers of directories (%11%) are told apart where they name a file's place or a service's
 * program; in other texts, also in registry data, they stay as they are.
 *
 * What is read is what is needed to install a driver offline. Not followed: Include and Needs of
 * Windows' own INF files (their names are kept), BitReg, Ini files, RenFiles, DelFiles, interfaces,
 * Wdf sections, registration of DLLs.
 *
 * An H2kInf is read-only when it has been made, and then thread-safe. Texts are valid UTF-8 and
 * come from the file: h2k_escape_text() before they are shown.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/release.h"

/* A file that is larger is refused. */
#define H2K_INF_MAX_SIZE (4u << 20)

/* A value that the INF may give by a string key. DriverDatabase wants the key, people the text. */
typedef struct
{
  char *token; /* "%viostor.devicedesc%", as the INF has it; NULL: it has the text itself */
  char *text;  /* never NULL */
} H2kInfText;

/* --- registry --------------------------------------------------------------------------------- */

typedef enum
{
  H2K_INF_HKCR,
  H2K_INF_HKCU,
  H2K_INF_HKLM,
  H2K_INF_HKU,
  H2K_INF_HKR, /* relative: to what, is said where the list is */
} H2kInfRoot;

typedef enum
{
  H2K_INF_REG_SET,    /* the value NAME becomes TYPE, DATA; its key is created */
  H2K_INF_REG_KEY,    /* the key is created, nothing else */
  H2K_INF_REG_APPEND, /* the strings of DATA that a REG_MULTI_SZ lacks are added */
  H2K_INF_REG_DELETE_VALUE,
  H2K_INF_REG_DELETE_KEY,    /* with all that is below it */
  H2K_INF_REG_DELETE_STRING, /* the strings of DATA leave a REG_MULTI_SZ, compared without case */
} H2kInfRegAction;

/* One line of an AddReg or DelReg section. */
typedef struct
{
  H2kInfRegAction action;
  H2kInfRoot root;
  char *key;     /* path below the root with backslashes; "": the root itself */
  char *name;    /* ""; the default value */
  guint32 type;  /* REG_*: 0 none, 1 sz, 2 expand_sz, 3 binary, 4 dword, 7 multi_sz, or any other */
  GBytes *data;  /* as the registry stores it: strings are UTF-16LE with their NULs. NULL: none */
  guint32 flags; /* as the INF has them, FLG_ADDREG_* */
  gboolean keep; /* FLG_ADDREG_NOCLOBBER: a value that is there stays */
  gboolean if_set; /* FLG_ADDREG_OVERWRITEONLY: only a value that is there is set */
  guint line;      /* in the file, from 1 */
} H2kInfReg;

/* --- what is installed ------------------------------------------------------------------------ */

/* A file of CopyFiles. */
typedef struct
{
  char *source; /* its name in the package */
  char
      *source_dir; /* its folder, relative to the INF's, with slashes ("x86"); "": beside the INF */
  char *target;    /* its name in Windows */
  gint32 dirid;    /* where: 10 Windows, 11 System32, 12 System32\drivers, 13 the driver store... */
  char *subdir;    /* below that, with backslashes; "": none */
  guint32 flags;   /* COPYFLG_* */
} H2kInfFile;

/* A service of AddService. */
typedef struct
{
  char *name;           /* NULL: "AddService = ,2", a device without a driver */
  guint32 flags;        /* SPSVCINST_* */
  gboolean is_function; /* SPSVCINST_ASSOCSERVICE: it is the device's driver */
  guint32 type;         /* of the registry: 1 kernel driver, 0x10 program ... */
  guint32 start;        /* 0 boot, 1 system, 2 auto, 3 demand, 4 disabled */
  guint32 error_control;
  gint32 binary_dirid; /* ServiceBinary = %12%\x.sys is 12 and "x.sys"; 0: BINARY is a whole path */
  char *binary;        /* path below that folder, with backslashes */
  char *group;         /* LoadOrderGroup; NULL: none */
  char *start_name;    /* NULL: none */
  H2kInfText display_name; /* its text is "" when there is none */
  H2kInfText description;  /* the same */
  GStrv dependencies;      /* never NULL; groups begin with '+' */
  GPtrArray *reg;          /* H2kInfReg*; HKR is the service's key */
  char *event_log;         /* "System"; NULL: no event log section */
  char *event_name;        /* key below it, the service's name unless the INF says otherwise */
  GPtrArray *event_reg;    /* H2kInfReg*; HKR is that key */
} H2kInfService;

/* An install section (DDInstall), with what its .Services, .HW and .CoInstallers sections add. */
typedef struct
{
  char *name;          /* as Models sections name it: "VirtioSerial_Device" */
  char *decorated;     /* the one that was chosen: "VirtioSerial_Device.NT" */
  GPtrArray *files;    /* H2kInfFile*, in the INF's order */
  GPtrArray *reg;      /* H2kInfReg*; HKR is the device's software key */
  GPtrArray *hw_reg;   /* H2kInfReg*; HKR is the device's hardware key */
  GPtrArray *co_files; /* H2kInfFile*, of the co-installers */
  GPtrArray *co_reg;   /* H2kInfReg*, as REG */
  GPtrArray *services; /* H2kInfService* */
  GStrv include; /* INF files of Windows, and sections of theirs, that belong to it but are not */
  GStrv needs;   /* in this package; never NULL */
} H2kInfInstall;

typedef struct
{
  H2kInfText description;
  H2kInfText manufacturer;
  const H2kInfInstall *install; /* the INF's */
  GStrv ids;            /* as the INF has them: first the hardware id, then compatible ones */
  guint n_hardware_ids; /* 1; 0 when the INF gives compatible ids only */
} H2kInfDevice;

typedef struct
{
  char *name;       /* as given to h2k_inf_parse() */
  char *class_name; /* "SCSIAdapter"; "" when there is none */
  char *class_guid; /* "{4D36E97B-E325-11CE-BFC1-08002BE10318}", in upper case; or "" */
  H2kInfText provider;
  guint year, month, day; /* DriverVer; 0 when there is none or it is no date */
  guint16 version[4];
  char *catalog;         /* CatalogFile for the target's processor; NULL: none */
  char *models;          /* the decoration of the first chosen Models section: "NTamd64.6.1"; "" */
  gboolean pnp_lockdown; /* PnpLockdown=1: Windows protects the files */
  GPtrArray *devices;    /* H2kInfDevice*, at least one */
  GPtrArray *installs;   /* H2kInfInstall*, each section once */
  GPtrArray *files;      /* char*: paths of the package's files relative to the INF's folder, with
                          * slashes: all that are installed or listed for this processor, the
                          * catalogue, not the INF. Plain relative paths, each once */
  GPtrArray *warnings;   /* char*, escaped: what is odd in it, and was left out */
} H2kInf;

/* What the SIZE bytes of the file NAME (for messages, unescaped) install on TARGET. Errors:
 * H2K_ERROR_FORMAT: it is not an INF, or what it would install cannot be understood; the message
 * has the line. H2K_ERROR_UNSUPPORTED: it is one, but for other releases or processors. */
H2kInf *h2k_inf_parse (const void *data, gsize size, const char *name,
                       const H2kWindowsRelease *target, GError **error);
void h2k_inf_free (H2kInf *inf);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kInf, h2k_inf_free)

/* The service that is INSTALL's driver; NULL when it has none (also when it is the null service).
 */
const H2kInfService *h2k_inf_function_service (const H2kInfInstall *install);
