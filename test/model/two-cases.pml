/* Two cases on one lease. A = P2 (case 0), B = P0 compromise (case 1). A's back-off lasts until B has closed.
 flags: NOTAKE   B waits for the owner instead of taking over
        CASEINTENT intent lives in the case's chunk, not on the lease (a take-over cannot see the other's attempt)
        ANYATT   'absent after own attempt' counts attempts that were answered (failed) too
        SHARED   credential has another live holder: A releases;  SINGLE: one outcome field on the lease, no per-case outcome
        PARK     A may park (final) ; PARKFINAL: parked is lease state final for everybody
        EXT      somebody else may delete the credential
        NOGEN    outcome write not conditional on the generation
   Code: functions/domain/decide.ts, domain/settle.ts, store/leases.ts (claimOperations, intend, answered, finish, copyOutcome); the long way of work.ts.
   Runs:
     holds
     breaks -DNOTAKE
     breaks -DCASEINTENT
     breaks -DSHARED -DSINGLE
     breaks -DPARK -DPARKFINAL
     holds -DCR=2
     holds -DSHARED
     holds -DPARK
*/
#define LIVE 1
#define RELEASED 2
#define CUTTING 3
#define FINAL 4
#define REV 1
#define ABS 2
#define REL 3
#define PRK 4
#ifndef CR
#define CR 1
#endif
#ifdef NOGEN
#define NOGENF true
#else
#define NOGENF false
#endif
#ifndef WEAK
#define WEAK 0
#endif
#ifdef SINGLE
#define RECREL lout=REL
#else
#define RECREL outc[0]=REL
#endif
byte crashes=CR;
byte st=LIVE; byte owner=9; byte gen; byte lout; byte outc[2]; bit att; bit attc[2]; bit unans; bit alive=1; byte killer; bit done[2]; byte fails[2]; bit bstarted; byte relcount; bit parkedA;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
proctype Case(byte c) { byte s,o,g,r; bit a;
again:
 atomic { s=st; o=owner; g=gen; if :: c==1 -> bstarted=1 :: else fi; CRASH }
#ifndef SINGLE
 if :: outc[c]!=0 -> goto count :: else fi;
#endif
 if
 :: s==FINAL -> atomic { if :: outc[c]==0 -> outc[c]=lout :: else fi; printf("%d copies outcome %d\n",c,lout); CRASH }; goto count
 :: s==LIVE ->
#ifdef SHARED
    if :: c==0 -> atomic { if :: st==LIVE -> st=RELEASED; relcount++; assert(relcount<=1); RECREL; printf("0 releases\n") :: else fi; CRASH }; goto again :: else fi;
#endif
    atomic { if :: st==s && gen==g -> st=CUTTING; owner=c; gen++; printf("%d takes\n",c) :: else fi; CRASH }; goto again
 :: s==RELEASED ->
    if :: c==0 -> atomic {
#ifdef SINGLE
      relcount=relcount;
#endif
      outc[0]=REL; CRASH }; goto count
    :: else -> atomic { if :: st==s && gen==g -> st=CUTTING; owner=c; gen++; printf("%d takes from released\n",c) :: else fi; CRASH }; goto again fi
 :: s==CUTTING && o!=c ->
#ifndef NOTAKE
    if :: c==1 -> atomic { if :: st==CUTTING && gen==g -> owner=c; gen++; printf("%d takes over\n",c) :: else fi; CRASH }; goto again :: else fi;
#endif
    st==FINAL || owner==c; goto again      /* poll */
 :: s==CUTTING && o==c -> skip
 fi;
 atomic { a=att;
#ifdef CASEINTENT
   a=attc[c];
#endif
   if :: gen==g -> att=1; attc[c]=1; printf("%d intent (earlier open attempt %d)\n",c,a) :: else -> goto again fi; CRASH };
 atomic { if :: alive -> if :: alive=0; killer=2; r=1; printf("%d effect kills\n",c)
                           :: fails[c]<1 -> fails[c]++; r=2; printf("%d effect fails\n",c) fi
            :: else -> r=3; printf("%d effect: absent\n",c) fi;
          if :: crashes>0 -> crashes--; unans=1; printf("   crash, answer lost\n"); goto dead :: true fi };
 if :: r==2 -> atomic {
#ifdef ANYATT
     skip
#else
     if :: gen==g -> att=a; attc[c]=0 :: else fi
#endif
     ; CRASH };
#ifdef PARK
     if :: c==0 -> atomic { if :: gen==g -> parkedA=1; outc[0]=PRK; printf("0 parks\n");
#ifdef PARKFINAL
        st=FINAL; lout=PRK
#endif
        :: else fi; CRASH }; goto again :: else fi;
#endif
     if :: c==0 -> done[1] || !bstarted /* back-off; once B is there it lasts until B closed */ :: else fi; goto again
 :: else fi;
 atomic { if :: (gen==g || NOGENF) && st==CUTTING -> st=FINAL; lout=((r==1 || a) -> REV : ABS); outc[c]=lout; printf("%d outcome %d\n",c,lout) :: else fi; CRASH };
 goto again;
count: done[c]=1; goto fin;
dead: goto again;
fin: s=0;o=0;g=0;r=0;a=0
}
#ifdef EXT
proctype Ext() { atomic { if :: alive -> alive=0; killer=1; printf("somebody else deletes it\n") :: else fi } }
#endif
init { atomic { run Case(0); run Case(1);
#ifdef EXT
 run Ext();
#endif
 }
 timeout;
 printf("end outcomes A %d B %d killer %d done %d %d\n",outc[0],outc[1],killer,done[0],done[1]);
 assert(done[0] && done[1]);
 assert(outc[1]==REV || outc[1]==ABS); assert(!alive);
 /* truth: revoked => we killed it, or an answer was lost / taken over in flight (weak); absent => somebody else did */
 assert(outc[1]!=ABS || killer==1);
#ifdef EXT
 assert(outc[1]!=REV || killer==2 || CR>0 || WEAK);
#endif
 assert(outc[0]!=ABS || killer==1);
#ifdef SHARED
 assert(outc[0]!=REL || relcount==1); assert(relcount==0 || outc[0]==REL);
#endif
}
